"""The head of a request, in small stories; what a parser makes of it, for any record."""

from urllib.parse import parse_qsl, unquote_to_bytes

import h11
import pytest
from httptools import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.delivery import Assignment, Delivery, FailureHistory
from mpsd.core.record import TopicPartition
from mpsd.core.target_template import UnfilledError
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.request import ASSIGNMENTS_CACHED_MAX, RequestHeads
from tests.conformance.deliveries import INCARNATION, Row
from tests.fakes.rest_delivery import rest_delivery

URL = "http://billing:8000/orders?v=1"
Headers = tuple[tuple[str, bytes | None], ...]


def heads(**settings: object) -> RequestHeads:
    given = rest_delivery(**{"url": URL, **settings})  # type: ignore[arg-type]
    return RequestHeads("billing", given, Endpoint.of(given.url), lambda: 1_700_000_000.9)


def made(*, attempts: int = 0, replay: str | None = None, **fields: object) -> Delivery:
    row = Row()
    for name, value in fields.items():
        setattr(row, name, value)
    delivery = Delivery(row, Assignment(TopicPartition(row.topic, row.partition), 7, INCARNATION), row.key, 0)
    delivery.replay = replay
    if attempts:
        delivery.failures = FailureHistory(attempts=attempts)
    return delivery


def lines(head: bytes) -> list[str]:
    assert head.endswith(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n")[:-2]


def values(head: bytes, name: str) -> list[str]:
    return [line.split(": ", maxsplit=1)[1] for line in lines(head) if line.lower().startswith(f"{name.lower()}: ")]


def test_an_ordinary_record() -> None:
    assert lines(heads().head(made())) == [
        "POST /orders?v=1 HTTP/1.1",
        "Host: billing:8000",
        "User-Agent: mpsd",
        "Mps-Subscription: billing",
        "Mps-Topic: orders",
        "Mps-Partition: 3",
        "Mps-Epoch: 7",
        "Mps-Offset: 1842",
        "Idempotency-Key: AAECAwQFBgcICQoLDA0ODw/3/1842",
        "Mps-Timestamp: 1700000000123",
        "Mps-Key: k1",
        "Mps-Attempt: 1",
        "Content-Type: application/octet-stream",
        "Content-Length: 5",
    ]


@pytest.mark.parametrize("headers", [(), (("a", b"1"),)])
def test_a_topic_stands_in_the_path(headers: Headers) -> None:
    writer = heads(url="http://billing/v1/{topic}?t={topic}", method="PUT")
    for topic in ("orders", "pay_ments-1.x"):
        head = writer.head(made(topic=topic, headers=headers))
        assert lines(head)[0] == f"PUT /v1/{topic}?t={topic} HTTP/1.1"
        assert values(head, "Mps-Topic") == [topic]


def test_a_header_stands_in_the_path() -> None:
    writer = heads(url="http://billing/{header:tenant}/{topic}")
    for tenant, path in ((b"a", "/a/orders"), (b"\r\nX: y/..", None), (b"b c\r\n", "/b%20c%0D%0A/orders")):
        delivery = made(headers=(("tenant", tenant),))
        if path is None:
            with pytest.raises(UnfilledError):
                writer.head(delivery)
        else:
            assert lines(writer.head(delivery))[0] == f"POST {path} HTTP/1.1"
    with pytest.raises(UnfilledError, match="its header tenant is missing or empty"):
        writer.head(made())


def test_no_key_is_not_the_empty_key() -> None:
    assert values(heads().head(made(key=None)), "Mps-Key") == []
    assert values(heads().head(made(key=b"")), "Mps-Key") == [""]


def test_no_value_is_not_the_empty_value() -> None:
    tombstone, empty = heads().head(made(value=None)), heads().head(made(value=b""))
    assert values(tombstone, "Mps-Tombstone") == ["true"]
    assert values(empty, "Mps-Tombstone") == []
    assert values(tombstone, "Content-Length") == values(empty, "Content-Length") == ["0"]


def test_a_record_without_a_time_says_none() -> None:
    assert values(heads().head(made(timestamp=-1)), "Mps-Timestamp") == []


def test_attempts_count_on_and_leave_the_idempotency_key_alone() -> None:
    head = heads().head(made(attempts=4))
    assert values(head, "Mps-Attempt") == ["5"]
    assert values(head, "Idempotency-Key") == ["AAECAwQFBgcICQoLDA0ODw/3/1842"]


def test_a_replay_has_an_idempotency_key_of_its_own() -> None:
    head = heads().head(made(replay="r 9"))
    assert values(head, "Mps-Replay") == ["r%209"]
    assert values(head, "Idempotency-Key") == ["AAECAwQFBgcICQoLDA0ODw/3/1842#r%209"]


def test_record_headers_stand_in_one_header_in_order() -> None:
    head = heads().head(made(headers=(("ce_type", b"1"), ("b c", b"x, y\xff"), ("ce_type", b""), ("null", None))))
    assert values(head, "Mps-Headers") == ["ce_type=1&b%20c=x%2C%20y%FF&ce_type=&null"]
    assert not [line for line in lines(head) if line.startswith("Mps-Header-")]


def test_no_record_headers_are_no_header() -> None:
    assert values(heads().head(made(attempts=1)), "Mps-Headers") == []
    assert values(heads().head(made(headers=(("", None),))), "Mps-Headers") == [""]


def test_many_record_headers_stand_in_lines_that_servers_take() -> None:
    given = tuple((f"name-{number}", b"x" * 900) for number in range(30))
    found = values(heads().head(made(headers=given)), "Mps-Headers")
    assert len(found) == 4
    assert max(map(len, found)) <= 8_000
    assert parse_qsl("".join(found)) == [(name, value.decode()) for name, value in given]


def test_separate_record_headers_are_repeated_in_order_and_encoded() -> None:
    head = heads(record_headers="separate").head(
        made(headers=(("a", b"1"), ("b c", b"x y\xff"), ("a", b"2%"), ("empty", b""), ("null", None)))
    )
    assert [line for line in lines(head) if line.startswith("Mps-Header-")] == [
        "Mps-Header-a: 1",
        "Mps-Header-b%20c: x%20y%FF",
        "Mps-Header-a: 2%25",
        "Mps-Header-empty: ",
        "Mps-Header-null: ",
    ]
    assert values(head, "Mps-Headers") == []


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (b"application/json; charset=utf-8", "application/json; charset=utf-8"),
        (b'"application/json"', "application/json"),
        (b"text/plain\r\nX-Evil: 1", "application/octet-stream"),
        (b"", "application/octet-stream"),
        (None, "application/octet-stream"),
        (b" leading", "application/octet-stream"),
        (b"x/" * 1000, "application/octet-stream"),
        ("é/a".encode(), "application/octet-stream"),
    ],
)
def test_the_content_type_is_the_record_s_where_http_can_carry_it(given: bytes | None, sent: str) -> None:
    assert values(heads().head(made(headers=(("Content-Type", given),))), "Content-Type") == [sent]


@pytest.mark.parametrize("key", [None, b"k1"])
@pytest.mark.parametrize("headers", [(), (("a", b"1"),)])
def test_what_looks_like_json_is_sent_as_json(headers: Headers, key: bytes | None) -> None:
    assert values(heads().head(made(value=b'{"a": 1}', key=key, headers=headers)), "Content-Type") == [
        "application/json"
    ]
    assert values(heads().head(made(value=b"a", key=key, headers=headers)), "Content-Type") == [
        "application/octet-stream"
    ]


@pytest.mark.parametrize("headers", [(), (("content-type", b"text/css"),)])
def test_a_configured_content_type_is_that_of_every_record(headers: Headers) -> None:
    writer = heads(content_type="text/csv")
    for value in (b"{}", b"a", b"", None):
        assert values(writer.head(made(value=value, headers=headers)), "Content-Type") == ["text/csv"]


def test_an_encoded_value_says_how_it_is_encoded() -> None:
    encoded = made(value=b"[1]", headers=(("content-encoding", b"gzip"),))
    assert values(heads().head(encoded), "Content-Encoding") == ["gzip"]
    assert values(heads().head(encoded), "Content-Type") == ["application/octet-stream"]
    assert values(heads().head(made(headers=(("content-encoding", b"a\r\nb"),))), "Content-Encoding") == []


def test_trace_headers_are_passed_on() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    head = heads().head(made(headers=(("traceparent", trace.encode()), ("tracestate", b"a=1, b=2"))))
    assert values(head, "traceparent") == [trace]
    assert values(head, "tracestate") == ["a=1, b=2"]


@pytest.mark.parametrize("given", [b"", b"a\r\nb", b"x" * 2000, b"\xff"])
def test_trace_headers_that_http_cannot_carry_are_not(given: bytes) -> None:
    head = heads().head(made(headers=(("traceparent", given), ("tracestate", given))))
    assert values(head, "traceparent") == values(head, "tracestate") == []


def test_static_headers_and_authentication() -> None:
    head = heads(headers={"X-Api-Key": "s3cret", "User-Agent": "mine"}, basic=("mps", "pa:ss")).head(made())
    assert values(head, "X-Api-Key") == ["s3cret"]
    assert values(head, "User-Agent") == ["mine"]
    assert values(head, "Authorization") == ["Basic bXBzOnBhOnNz"]
    assert values(heads(bearer="t0ken").head(made()), "Authorization") == ["Bearer t0ken"]


def test_secrets_are_never_shown() -> None:
    secrets = {"headers": {"a": "s3cret"}, "webhook_secrets": ("whsec_" + "s3cret" * 6,)}
    assert "s3cret" not in repr(rest_delivery(URL, bearer="s3cret", **secrets))
    assert "s3cret" not in repr(rest_delivery(URL, basic=("u", "s3cret")))


def test_signatures_stand_beside_the_rest() -> None:
    head = heads(webhook_secrets=("whsec_" + "A" * 32,)).head(made())
    assert values(head, "webhook-id") == ["AAECAwQFBgcICQoLDA0ODw/3/1842"]
    assert values(head, "webhook-timestamp") == ["1700000000"]
    assert len(values(head, "webhook-signature")) == 1


def test_a_record_becomes_a_cloud_event() -> None:
    head = heads(body="cloudevents-binary").head(made(headers=(("content-type", b"application/json"), ("a", b"1"))))
    assert values(head, "ce-specversion") == ["1.0"]
    assert values(head, "ce-id") == ["AAECAwQFBgcICQoLDA0ODw/3/1842"]
    assert values(head, "Content-Type") == ["application/json"]
    assert values(head, "Mps-Headers") == ["content-type=application%2Fjson&a=1"]
    assert values(head, "Mps-Attempt") == ["1"]


def test_a_cloud_event_is_mapped_not_wrapped() -> None:
    event = (("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_source", b"/s"), ("ce_type", b"t"), ("ce_X", b"odd"))
    head = heads(body="cloudevents-binary").head(made(headers=event))
    assert values(head, "ce-id") == ["7"]
    assert values(head, "ce-source") == ["/s"]
    assert values(head, "Mps-Headers") == ["ce_X=odd"]


def test_a_structured_cloud_event_goes_as_it_is() -> None:
    given = (("content-type", b"application/cloudevents+json"),)
    head = heads(body="cloudevents-binary").head(made(headers=given))
    assert not [line for line in lines(head) if line.lower().startswith("ce-")]


def test_more_assignments_than_are_kept_are_served_all_the_same() -> None:
    writer = heads()
    for number in range(ASSIGNMENTS_CACHED_MAX + 2):
        assert values(writer.head(made(partition=number)), "Mps-Partition") == [str(number)]


@given(
    topic=st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**63 - 1),
    key=st.none() | st.binary(),
    value=st.none() | st.binary() | st.sampled_from([b'{"a": 1}', b"[]"]),
    headers=st.lists(st.tuples(st.text(min_size=1), st.none() | st.binary()), max_size=5).map(tuple),
    attempts=st.integers(0, 9),
    replay=st.none() | st.text(max_size=20),
    settings=st.sampled_from([{}, {"body": "cloudevents-binary"}, {"webhook_secrets": ("whsec_" + "A" * 32,)}]),
    separate=st.booleans(),
)
def test_any_record_comes_back_from_a_parser(
    *,
    topic: str,
    offset: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    attempts: int,
    replay: str | None,
    settings: dict[str, object],
    separate: bool,
) -> None:
    delivery = made(
        topic=topic,
        offset=offset,
        timestamp=timestamp,
        key=key,
        value=value,
        headers=headers,
        attempts=attempts,
        replay=replay,
    )
    settings = {**settings, "record_headers": "separate" if separate else "combined"}
    data = heads(**settings).head(delivery) + (value or b"")

    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(data)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := server.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert server.trailing_data[0] == b""

    found = [(name, text) for name, text in request.headers]
    of = dict(found)
    assert body == (value or b"")
    assert of[b"mps-topic"].decode() == topic
    assert int(of[b"mps-offset"]) == offset
    assert int(of[b"mps-attempt"]) == attempts + 1
    assert int(of.get(b"mps-timestamp", -1)) == timestamp
    assert (of.get(b"mps-tombstone") == b"true") is (value is None)
    sent_key = of.get(b"mps-key")
    assert (None if sent_key is None else unquote_to_bytes(sent_key)) == key
    assert (of.get(b"mps-replay") is None) is (replay is None)
    if separate:
        sent = [(name[11:], unquote_to_bytes(text)) for name, text in found if name.startswith(b"mps-header-")]
        names = [(unquote_to_bytes(name).decode("utf-8", "replace"), text) for name, text in sent]
        if all(name.isascii() and name == name.lower() for name, _ in headers):
            assert names == [(name, text or b"") for name, text in headers]
        assert len(names) == len(headers)
    elif headers:
        fields = [field.partition(b"=") for field in of[b"mps-headers"].split(b"&")]
        assert [
            (unquote_to_bytes(name).decode(), unquote_to_bytes(text) if is_given else None)
            for name, is_given, text in fields
        ] == list(headers)
    else:
        assert b"mps-headers" not in of
    assert _headers_of_httptools(data) == found


def _headers_of_httptools(data: bytes) -> list[tuple[bytes, bytes]]:
    class Listener:
        def __init__(self) -> None:
            self.found: list[tuple[bytes, bytes]] = []

        def on_header(self, name: bytes, text: bytes) -> None:
            self.found.append((name.lower(), text))

    listener = Listener()
    HttpRequestParser(listener).feed_data(data)
    return listener.found
