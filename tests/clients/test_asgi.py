"""A handler behind HTTP: the records that it gets, and the answers."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from mps_client import DeadLetter, Record, Retry, asgi
from mps_client.asgi import Application

HEADERS = {
    "mps-topic": "orders",
    "mps-partition": "3",
    "mps-offset": "42",
    "mps-attempt": "2",
    "mps-epoch": "7",
    "idempotency-key": "AAECAwQFBgcICQoLDA0ODw/3/42",
}


class Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


async def post(
    application: Application, body: bytes, headers: Mapping[str, str] | list[tuple[str, str]], method: str = "POST"
) -> Response:
    lines = headers.items() if isinstance(headers, Mapping) else headers
    scope = {
        "type": "http",
        "method": method,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines],
    }
    half = len(body) // 2
    arriving: list[dict[str, Any]] = [{"body": body[:half], "more_body": True}, {"body": body[half:]}]
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", **arriving.pop(0)}

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope, receive, send)
    given = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Response(sent[0]["status"], given, sent[1]["body"])


def answering(error: Exception | None, seen: list[Record] | None = None, **options: Any) -> Application:
    async def handler(record: Record) -> None:
        if seen is not None:
            seen.append(record)
        if error:
            raise error

    return asgi(handler, **options)


async def test_a_request_is_a_record() -> None:
    seen: list[Record] = []
    more = [
        ("mps-key", "a%00%25b"),
        ("mps-timestamp", "1000"),
        ("mps-replay", "r1"),
        ("mps-headers", "a=1%FF&x%20y=2&a=&null"),
    ]
    said = await post(answering(None, seen), b"value", [*HEADERS.items(), *more])
    assert said.status == 204
    (record,) = seen
    assert (record.topic, record.partition, record.offset, record.attempt, record.epoch) == ("orders", 3, 42, 2, 7)
    assert (record.key, record.value, record.timestamp_ms) == (b"a\0%b", b"value", 1_000)
    assert record.headers == [("a", b"1\xff"), ("x y", b"2"), ("a", b""), ("null", None)]
    assert record.idempotency_key == HEADERS["idempotency-key"]


@pytest.mark.parametrize(
    ("lines", "headers"),
    [
        ([], []),
        ([("mps-headers", "")], [("", None)]),
        ([("mps-headers", "a=1&"), ("mps-headers", "b=2")], [("a", b"1"), ("b", b"2")]),
        ([("mps-headers", "a=1&, b=2%2"), ("mps-headers", "C,\t%20")], [("a", b"1"), ("b", b"2, ")]),
        (
            [("mps-header-a", "1%FF"), ("mps-header-x%20y", "2"), ("mps-header-a", "")],
            [("a", b"1\xff"), ("x y", b"2"), ("a", b"")],
        ),
    ],
)
async def test_record_headers_come_in_any_lines(lines: list[tuple[str, str]], headers: list[tuple[str, bytes]]) -> None:
    seen: list[Record] = []
    assert (await post(answering(None, seen), b"", [*HEADERS.items(), *lines])).status == 204
    assert list(seen[0].headers) == headers


async def test_a_record_says_its_media_type() -> None:
    seen: list[Record] = []
    application = answering(None, seen)
    await post(application, b"{}", {**HEADERS, "content-type": "application/json"})
    await post(application, b"", HEADERS)
    body = json.dumps([event(1, data={}, datacontenttype="text/json"), event(2)]).encode()
    await post(application, body, {"content-type": "application/cloudevents-batch+json"})
    assert [record.content_type for record in seen] == [
        "application/json",
        "application/octet-stream",
        "text/json",
        "application/octet-stream",
    ]


@pytest.mark.parametrize("value", [b'{ "data":1.10,\n"a":1e300 }', b' [0.30000000000000004, ",\\"data\\":"] ', b"{}"])
async def test_json_of_a_batch_is_byte_for_byte_what_it_was(value: bytes) -> None:
    seen: list[Record] = []
    events = [
        f'{{"id":"{n}","mpstopic":"t","mpspartition":0,"mpsoffset":"{n}","mpsattempt":1,"mpskey":"a,data"'
        for n in range(3)
    ]
    body = ",".join(f'{text},"data":{value.decode()}}}' for text in events).encode()
    for whole in (b"[%b]" % body, b"[%b] " % body, b"[ %b]" % body):
        seen.clear()
        said = await post(answering(None, seen), whole, {"content-type": "application/cloudevents-batch+json"})
        assert (said.status, len(seen)) == (200, 3)
        if whole == b"[%b]" % body:
            assert [record.value for record in seen] == [value] * 3
        else:
            assert [json.loads(record.value or b"") for record in seen] == [json.loads(value)] * 3


async def test_a_record_that_is_a_batch_of_somebody_else_is_one_record() -> None:
    seen: list[Record] = []
    headers = {**HEADERS, "content-type": "application/cloudevents-batch+json"}
    assert (await post(answering(None, seen), b"[]", headers)).status == 204
    assert [record.value for record in seen] == [b"[]"]


async def test_absent_is_not_empty() -> None:
    seen: list[Record] = []
    application = answering(None, seen)
    await post(application, b"", {**HEADERS, "mps-tombstone": "true"})
    await post(application, b"", {**HEADERS, "mps-key": ""})
    assert [(record.key, record.value, record.timestamp_ms) for record in seen] == [
        (None, None, None),
        (b"", b"", None),
    ]


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (DeadLetter("no\norder"), 422, {"mps-verdict": "dead-letter", "mps-reason": "no order"}),
        (Retry("later", after_s=1.2), 500, {"mps-verdict": "retry", "mps-reason": "later", "retry-after": "2"}),
        (ValueError("größe"), 500, {"mps-verdict": "retry", "mps-reason": "ValueError: gr??e"}),
    ],
)
async def test_an_exception_is_an_answer(error: Exception, status: int, headers: Mapping[str, str]) -> None:
    said = await post(answering(error), b"v", HEADERS)
    assert said.status == status
    assert headers.items() <= said.headers.items()


async def test_what_is_not_from_the_proxy_is_refused() -> None:
    application = answering(None, body_bytes_max=20)
    assert (await post(application, b"v", {})).status == 400
    assert (await post(application, b"v", {**HEADERS, "mps-offset": "x"})).status == 400
    without_key = {name: value for name, value in HEADERS.items() if name != "idempotency-key"}
    assert (await post(application, b"v", without_key)).status == 400
    assert (await post(application, b"v" * 21, HEADERS)).status == 413
    refused = await post(application, b"", {}, "GET")
    assert (refused.status, refused.headers["allow"]) == (405, "POST, PUT")
    assert (await post(application, b"v", HEADERS, "PUT")).status == 204
    for body in (b"{}", b"[1]", b'[{"id": "1"}]', b"nonsense", b"[[["):
        assert (await post(application, body, {"content-type": "application/cloudevents-batch+json"})).status == 400


def event(number: int, key: str | None = None, **more: Any) -> dict[str, Any]:
    data = {"data_base64": b64encode(b"%d" % number).decode()} if not {"data", "mpstombstone"} & more.keys() else {}
    keyed = {} if key is None else {"mpskey": key}
    place = {"mpstopic": "orders", "mpspartition": 0, "mpsoffset": str(number), "mpsattempt": 1, "mpsepoch": 1}
    return {"id": f"orders/0/{number}", **place, **keyed, **data, **more}


async def post_batch(application: Application, *events: Any) -> Response:
    media_type = "application/cloudevents-batch+json; charset=utf-8"
    return await post(application, json.dumps(events).encode(), {"content-type": media_type})


async def test_a_batch_is_records() -> None:
    seen: list[Record] = []
    events = [
        event(1, "a%00", mpstimestamp="5", mpsheaders="h=1%26&n&h="),
        event(2, data={"amount": 5, "ü": [1.5]}),
        event(3, mpstombstone=True, mpsreplay="r"),
    ]
    said = await post_batch(answering(None, seen), *events)
    assert (said.status, said.body) == (200, b"")
    first, second, third = sorted(seen, key=lambda record: record.offset)
    assert (first.key, first.value, first.timestamp_ms) == (b"a\0", b"1", 5)
    assert first.headers == [("h", b"1&"), ("n", None), ("h", b"")]
    assert second.value is not None
    assert json.loads(second.value) == {"amount": 5, "ü": [1.5]}
    assert (third.value, third.idempotency_key) == (None, "orders/0/3")


@pytest.mark.parametrize(("after_dead_letter", "reached"), [("continue", {1, 2, 4, 5, 6}), ("block", {1, 2, 4, 6})])
async def test_a_key_stops_at_its_first_failure(after_dead_letter: Any, reached: set[int]) -> None:
    done: list[int] = []

    async def handler(record: Record) -> None:
        await asyncio.sleep(0)
        done.append(record.offset)
        if record.offset == 2:
            raise Retry("busy", after_s=0.5)
        if record.offset == 4:
            raise DeadLetter("bad")

    events = [event(1, "a"), event(2, "a"), event(3, "a"), event(4, "b"), event(5, "b"), event(6)]
    said = await post_batch(asgi(handler, after_dead_letter=after_dead_letter), *events)
    assert set(done) == reached
    assert said.status == 200
    assert json.loads(said.body)["failures"] == [
        {"id": "orders/0/2", "reason": "busy", "action": "retry", "retry_after_s": 0.5},
        {"id": "orders/0/4", "reason": "bad", "action": "dead-letter"},
    ]


async def test_keys_of_a_batch_run_at_once_up_to_the_concurrency() -> None:
    running = most = 0

    async def handler(record: Record) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await post_batch(asgi(handler, concurrency=3), *[event(number) for number in range(20)])
    assert most == 3


async def test_it_lives_as_its_server_does() -> None:
    sent = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await answering(None)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
