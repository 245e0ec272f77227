import json
import re
from base64 import b64decode
from urllib.parse import parse_qsl, unquote_to_bytes

import pytest

from mpsd.core.delivery import Delivery, FailureHistory
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.events import Batch, BatchRequests
from tests.conformance.deliveries import INCARNATION
from tests.fakes.records import Row, assigned
from tests.fakes.rest_delivery import rest_delivery

URL = "http://127.0.0.1:8000/orders"

SECRET = "whsec_" + "A" * 32


def made(**fields: object) -> Delivery:
    partition = 5
    row = Row(partition=partition, offset=1842, timestamp=1_700_000_000_123)
    for name, value in fields.items():
        setattr(row, name, value)
    assignment = assigned(partition, 9)
    assignment.identify(INCARNATION)
    return Delivery(row, assignment, row.key, 1)


def posted(*given: Delivery, **settings: object) -> tuple[str, list[dict[str, object]]]:
    requests = BatchRequests("bil%ling", rest_delivery(URL, **settings), Endpoint.of(URL), lambda: 1_700_000_000.0)
    batch = Batch(given)
    head = requests.head(batch).decode()
    body = batch.take_body()
    assert f"Content-Length: {len(body)}\r\n" in head
    assert batch.take_body() == b""
    return head, json.loads(body)


def event(given: Delivery) -> dict[str, object]:
    _, (only,) = posted(given)
    return only


def test_an_ordinary_record_is_an_event() -> None:
    head, events = posted(made(key=b"k1", value=b"\x00\xff"), made(offset=1843, timestamp=1_700_000_000_124))
    assert head.startswith("POST /orders HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n")
    assert "\r\nMps-Records: 2\r\n" in head
    assert "\r\nContent-Type: application/cloudevents-batch+json\r\n" in head
    assert events[0] == {
        "specversion": "1.0",
        "type": "kafka.record.v1",
        "source": "/kafka/orders/5",
        "id": "AAECAwQFBgcICQoLDA0ODw/5/1842",
        "time": "2023-11-14T22:13:20.123Z",
        "mpssubscription": "bil%ling",
        "mpstopic": "orders",
        "mpspartition": 5,
        "mpsoffset": "1842",
        "mpsepoch": 9,
        "mpstimestamp": "1700000000123",
        "mpskey": "k1",
        "mpsattempt": 1,
        "datacontenttype": "application/octet-stream",
        "data_base64": "AP8=",
    }
    assert (events[1]["id"], events[1]["time"]) == ("AAECAwQFBgcICQoLDA0ODw/5/1843", "2023-11-14T22:13:20.124Z")


def test_attributes_are_named_as_cloudevents_asks() -> None:
    given = made(headers=(("a", b"b"), ("traceparent", b"00-1-2-03"), ("tracestate", b"k=v")))
    given.replay = "r-1"
    for name in event(given).keys() - {"data_base64"}:
        assert name.isalnum()
        assert name.islower()


@pytest.mark.parametrize("headers", [(), (("h", b"1"),)])
@pytest.mark.parametrize("key", [b"", b"plain", b'"\\%\x00\xff', "schlüssel".encode()])
def test_any_key_survives(key: bytes, headers: tuple[tuple[str, bytes], ...]) -> None:
    assert unquote_to_bytes(str(event(made(key=key, headers=headers))["mpskey"])) == key


def test_no_key_and_no_time_are_absent() -> None:
    assert "mpskey" not in event(made(key=None))
    without = event(made(timestamp=-1))
    assert not {"time", "mpstimestamp"} & without.keys()


def test_a_time_beyond_the_calendar_is_a_number_only() -> None:
    late = event(made(timestamp=253_402_300_800_000))
    assert late["mpstimestamp"] == "253402300800000"
    assert "time" not in late


def test_a_tombstone_has_no_data_and_an_empty_value_has_some() -> None:
    tombstone = event(made(value=None))
    assert tombstone["mpstombstone"] is True
    assert not {"data", "data_base64", "datacontenttype"} & tombstone.keys()
    empty = event(made(value=b""))
    assert (empty["data_base64"], empty.get("mpstombstone")) == ("", None)


@pytest.mark.parametrize("content_type", [b"application/json", b"Text/JSON; charset=utf-8", b"application/vnd.x+json"])
def test_json_is_data_as_it_is(content_type: bytes) -> None:
    value = '{"a": [1, 2.50, "ä\\n"], "a": null}'.encode()
    seen = event(made(value=value, headers=(("Content-Type", content_type),)))
    assert (seen["datacontenttype"], seen["data"]) == (content_type.decode(), {"a": None})


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"\xff",
        b"NaN",
        b"[1] [2]",
        b'"\xed\xa0\x80"',
        b"[" * 100_000,
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1}{}',
        b'{"a":01}',
        b'{"a":"\xff"}',
        b'{"a":' * 9_999,
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_only_claims_to_be_json_is_bytes(value: bytes) -> None:
    seen = event(made(value=value, headers=(("content-type", b"application/json"),)))
    assert "data" not in seen
    assert b64decode(str(seen["data_base64"])) == value


@pytest.mark.parametrize("headers", [(), (("a", b"1"),)])
def test_what_looks_like_json_and_is_stands_as_it_is(headers: tuple[tuple[str, bytes], ...]) -> None:
    seen = event(made(value=b' {"a": 1.50}\n', headers=headers))
    assert (seen["datacontenttype"], seen["data"]) == ("application/json", {"a": 1.5})
    assert "data_base64" not in seen
    only_looks = event(made(value=b'{"a": 1.50,}', headers=headers))
    assert (only_looks["datacontenttype"], only_looks.get("data")) == ("application/json", None)
    assert b64decode(str(only_looks["data_base64"])) == b'{"a": 1.50,}'


def test_a_batch_is_put_where_that_is_asked_for() -> None:
    head, _ = posted(made(), method="PUT")
    assert head.startswith("PUT /orders HTTP/1.1\r\n")


def test_a_batch_fills_no_places_of_a_url() -> None:
    url = "http://a/{topic}"
    with pytest.raises(ValueError, match="several records"):
        BatchRequests("b", rest_delivery(url), Endpoint.of(url), lambda: 0.0)


def test_a_configured_type_is_that_of_every_record() -> None:
    for headers in ((), (("content-type", b"text/css"),)):
        _, (seen,) = posted(made(value=b"[1]", headers=headers), content_type="application/x-any")
        assert (seen["datacontenttype"], seen["data_base64"]) == ("application/x-any", "WzFd")
        _, (seen,) = posted(made(value=b"1", headers=headers), content_type="application/json")
        assert (seen["datacontenttype"], seen["data"]) == ("application/json", 1)


def test_an_encoded_value_is_bytes_whatever_its_type() -> None:
    headers = (("content-encoding", b"gzip"), ("content-type", b"application/json"))
    seen = event(made(value=b"[1]", headers=headers))
    assert (seen["datacontenttype"], seen["data_base64"]) == ("application/json", "WzFd")
    assert "content-encoding=gzip" in str(seen["mpsheaders"])


def test_words_that_are_no_numbers_may_stand_in_texts() -> None:
    assert event(made(value=b'{"a": "NaN, Infinity"}'))["data"] == {"a": "NaN, Infinity"}


def test_other_content_types_are_kept() -> None:
    assert event(made(headers=(("content-type", b"image/png"),)))["datacontenttype"] == "image/png"


def test_headers_survive_in_order_and_repeated() -> None:
    given = (("a", b"1"), ("b &=%ö", b"\x00\xff &=+%"), ("a", b""), ("null", None))
    text = str(event(made(headers=given))["mpsheaders"])
    assert parse_qsl(text, keep_blank_values=True, encoding="latin-1") == [
        ("a", "1"),
        ("b &=%ö".encode().decode("latin-1"), "\x00\xff &=+%"),
        ("a", ""),
        ("null", ""),
    ]
    assert text.endswith("&null")


def test_traces_are_attributes() -> None:
    seen = event(made(headers=(("traceparent", b"00-1-2-03"), ("tracestate", b'k="v"'))))
    assert (seen["traceparent"], seen["tracestate"]) == ("00-1-2-03", 'k="v"')


def test_attempts_and_replays_are_told() -> None:
    given = made()
    given.failures = FailureHistory(attempts=2)
    given.replay = 'r "7"'
    seen = event(given)
    assert (seen["mpsattempt"], seen["mpsreplay"], seen["id"]) == (
        3,
        "r%20%227%22",
        "AAECAwQFBgcICQoLDA0ODw/5/1842#r%20%227%22",
    )


def test_a_batch_is_signed_as_one_message() -> None:
    head, _ = posted(made(), made(offset=1843), webhook_secrets=(SECRET,))
    assert re.search(r"\r\nwebhook-id: [0-9a-f]{32}\r\n", head)
    assert "\r\nwebhook-signature: v1," in head


def test_only_a_batch_of_the_same_records_has_the_same_webhook_id() -> None:
    """An application that has seen the first, and keeps its id, must not pass over a record that came in its place."""
    one, other, third = made(), made(offset=1843), made(offset=1844)
    ids = []
    for batch in ((one, other), (one, other), (one, third), (one,), (other, one)):
        head, _ = posted(*batch, webhook_secrets=(SECRET,))
        ids += re.findall(r"webhook-id: (\S+)", head)
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4


def test_a_producers_key_is_the_id_whatever_it_is() -> None:
    given = made(headers=(("order-id", b'"o-1"\\%'),)), made(headers=(("order-id", b"o 1"),))
    _, events = posted(*given, idempotency_key="header:order-id")
    assert [event["id"] for event in events] == ['"o-1"\\%', "AAECAwQFBgcICQoLDA0ODw/5/1842"]
    assert event(given[0])["id"] == "AAECAwQFBgcICQoLDA0ODw/5/1842", "unless the header is asked for"


def test_a_topic_that_needs_quoting_stays_json() -> None:
    given = made(topic='a"b\\c%d', value=b"x")
    given.assignment.tp = given.assignment.tp._replace(topic='a"b\\c%d')
    seen = event(given)
    assert (seen["mpstopic"], seen["id"]) == ('a"b\\c%d', "AAECAwQFBgcICQoLDA0ODw/5/1842")


def test_beginnings_are_not_kept_for_ever() -> None:
    requests = BatchRequests("b", rest_delivery(URL), Endpoint.of(URL), lambda: 0.0)
    for epoch in range(4100):
        requests.head(Batch([Delivery(Row(), assigned(0, epoch), b"a", 1)]))
    assert len(requests._beginnings) <= 4096
