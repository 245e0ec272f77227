"""The message in an answer, picked out of what frameworks say; never the input that an answer quotes."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpsd.core.answer_reason import REASON_CHARACTERS_MAX, one_line, reason_of

MISSING = {"type": "missing", "loc": ["body", "order_id"], "msg": "Field required", "input": {"card": "4111", "x": "y"}}
NO_FLOAT = {
    "type": "float_type",
    "loc": ["body", "items", 17, "price"],
    "msg": "Input should be a number",
    "input": "4",
}
FLASK = (
    "<!doctype html>\n<html lang=en>\n<title>415 Unsupported Media Type</title>\n<h1>Unsupported Media Type</h1>\n"
    "<p>The request Content-Type was not &#39;application/json&#39;.</p>\n"
)
NGINX = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n"
)
DJANGO = '<!DOCTYPE html><html lang="en"><head><title>KeyError at /orders</title><style>html * { padding:0; mar'
TRACE = "Traceback (most recent call last):\n  File \"app.py\", line 3\nKeyError: 'amount'\n"


@pytest.mark.parametrize(
    ("framework", "body", "reason"),
    [
        ("FastAPI", {"detail": [MISSING]}, "body.order_id: Field required (missing)"),
        (
            "FastAPI",
            {"detail": [NO_FLOAT, MISSING]},
            "body.items.17.price: Input should be a number (float_type) (and 1 more)",
        ),
        ("FastAPI", {"detail": "Not Found"}, "Not Found"),
        ("a pydantic error without a place", {"detail": [{"msg": "no", "type": "t", "loc": []}]}, "no (t)"),
        (
            "RFC 9457",
            {"type": "about:blank", "title": "Out of stock", "detail": "none left"},
            "Out of stock: none left",
        ),
        ("RFC 9457, title only", {"type": "about:blank", "title": "Out of stock", "status": 409}, "Out of stock"),
        ("title and detail alike", {"title": "No", "detail": "No"}, "No"),
        ("ASP.NET", {"title": "Not valid.", "errors": {"Name": ["is required."]}}, "Not valid.: Name: is required."),
        ("Spring", {"status": 500, "error": "Internal Server Error", "path": "/orders"}, "Internal Server Error"),
        ("Spring", {"error": "Internal Server Error", "message": "boom"}, "boom"),
        ("NestJS", {"message": ["x must be a string", "y"], "error": "Bad Request"}, "x must be a string (and 1 more)"),
        ("Django REST", {"amount": ["This field is required."]}, "amount: This field is required."),
        ("Django REST", {"amount": ["No."], "id": ["No."]}, "amount: No. (and 1 more)"),
        ("GraphQL", {"data": None, "errors": [{"message": "no such field"}]}, "no such field"),
        ("Google", {"error": {"code": 3, "message": "bad field"}}, "bad field"),
        ("a JSON text", "no such customer", "no such customer"),
        ("lists", [[{"msg": "deep"}]], "deep"),
        ("nothing in a list", {"detail": [1, {}], "errors": []}, ""),
        ("the record itself", {"customer": "ann", "amount": 3, "lines": [{"sku": "a"}]}, ""),
        ("the record itself, with a list", {"tags": ["a", 1]}, ""),
        ("empty lists", {"tags": []}, ""),
        ("too deep", [[[[["no"]]]]], ""),
        ("no object", {}, ""),
    ],
)
def test_the_message_is_picked_as_the_framework_says_it(framework: str, body: object, reason: str) -> None:
    assert reason_of(json.dumps(body).encode()) == reason, framework


def test_the_input_that_a_validator_quotes_is_left_out() -> None:
    assert "4111" not in reason_of(json.dumps({"detail": [MISSING]}).encode())


@pytest.mark.parametrize("kept", [90, 100, 1024])
def test_a_body_that_was_cut_off_is_read_as_far_as_it_goes(kept: int) -> None:
    body = json.dumps({"detail": [{**MISSING, "input": {"card": "4111", "note": "x" * 4000}}]}).encode()
    assert reason_of(body[:kept]) == "body.order_id: Field required (missing)"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"detail": "the disk is fu', "the disk is fu"),
        (b'{"detail": "full", "pa', "full"),
        (b'{"detail": "full\\u00', ""),
        (b'{"a": {"b": [1, 2]}, "message": "no", "c": [1', "no"),
        (b'{"', ""),
        (b"{]", ""),
        (b"[" * 5000, ""),
        (b'{"a":' * 5000, ""),
    ],
)
def test_what_is_no_json_or_no_more(body: bytes, reason: str) -> None:
    assert reason_of(body) == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (FLASK, "Unsupported Media Type: The request Content-Type was not 'application/json'."),
        (NGINX, "502 Bad Gateway: nginx/1.18.0"),
        (DJANGO, "KeyError at /orders"),
        ("<title>Error</title><body><pre>Cannot POST /orders</pre>", "Cannot POST /orders"),
        ("<!-- nothing <b>to</b> see", ""),
        ("<p>half a tag <a href=", "half a tag"),
        ("<script>alert(1)</script>", ""),
    ],
)
def test_of_html_the_text_is_left(body: str, reason: str) -> None:
    assert reason_of(body.encode()) == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", ""),
        (b" \r\n\t", ""),
        (b"database is locked\nat line 3\n", "database is locked"),
        (TRACE.encode(), "KeyError: 'amount'"),
        (b"red \x1b[31m and \x07 bells", "red ?[31m and ? bells"),
        (b"the caf\xe9 is closed", "the caf\ufffd is closed"),
        (bytes(range(256)), ""),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", ""),
    ],
)
def test_of_text_the_first_line_is_left(body: bytes, reason: str) -> None:
    assert reason_of(body) == reason


def test_a_long_message_is_cut_where_one_that_just_fits_is_not() -> None:
    assert one_line("x" * REASON_CHARACTERS_MAX) == "x" * REASON_CHARACTERS_MAX
    assert one_line("x" * (REASON_CHARACTERS_MAX + 1)) == "x" * (REASON_CHARACTERS_MAX - 1) + "…"


@given(st.one_of(st.binary(max_size=300), st.text(alphabet='{}[]",:\\a<>/!-& ', max_size=300).map(str.encode)))
@example(b"<" * 5000)
@example(b'"\\' * 3000)
@example(b'{"title":' * 3000)
def test_any_body_gives_one_printable_line(body: bytes) -> None:
    reason = reason_of(body)
    assert reason.isprintable()
    assert len(reason) <= REASON_CHARACTERS_MAX


def test_a_closing_bracket_without_an_opening_one_is_passed_over() -> None:
    assert reason_of(b'{"message": "no such customer"}] {') == ""
