"""Every code that the server says has words of its own, and the page cannot be written before it has."""

import pytest

from docs.codes import Description, Unreadable, codes, codes_of, codes_page, descriptions, differences

KNOWN = Description("It happened.", "")


@pytest.mark.parametrize(
    ("source", "code", "kind"),
    [
        ("class Taken(MpsError):\n    code = 'listener.taken'", "listener.taken", "error"),
        ("class MpsError(Exception):\n    code: ClassVar[str] = 'internal'", "internal", "error"),
        ("log.info('', extra={'code': 'a.b', 'n': 1})", "a.b", "event"),
        ("def f():\n    return Retryable(code='timeout', reason='')", "timeout", "outcome"),
        ("def f():\n    meaning, code = X, 'verdict'", "verdict", "outcome"),
        ("def code(status):\n    return f'status_{status}'", "status_NNN", "outcome"),
        ("def code(status):\n    return f'status_{status // 100}xx'", "status_Nxx", "outcome"),
    ],
)
def test_a_code_is_found_wherever_it_is_said(source: str, code: str, kind: str) -> None:
    assert list(codes_of(source)) == [(code, kind)]


@pytest.mark.parametrize("code", ["error.code", "code", "f'delivery.{code}'"])
def test_a_code_that_is_said_elsewhere_is_not_said_twice(code: str) -> None:
    assert list(codes_of(f"log.info('', extra={{'code': {code}}})")) == []


def test_a_code_that_nobody_can_read_is_refused() -> None:
    with pytest.raises(Unreadable):
        list(codes_of("log.info('', extra={'code': made_up()})"))


def test_a_code_without_words_and_words_without_a_code_are_named() -> None:
    assert differences({"a": "event", "b": "event"}, {"b": KNOWN, "c": KNOWN}) == [
        "a: docs/codes.toml does not describe it",
        "c: docs/codes.toml describes it, but no code in server/ has it",
    ]


def test_every_code_of_the_server_has_words() -> None:
    assert differences(codes(), descriptions()) == []


def test_the_page_has_a_heading_for_each() -> None:
    page = codes_page()
    assert [code for code in codes() if f"## {code}\n" not in page] == []
