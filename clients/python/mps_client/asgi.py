"""A handler behind HTTP: an ASGI application for any ASGI server, such as uvicorn.

    app = asgi(bill)        # uvicorn service:app

The daemon posts records one by one or in batches (contracts A and B). The same handler works for streams.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from mps_client import cloud_events
from mps_client.handlers import Calls, Handler
from mps_client.http_records import BadRequestError, Headers, answer, header_text, lanes, record_of, value_of
from mps_client.record import Record
from mps_client.verdicts import Retry, Verdict

BODY_BYTES_MAX = 64 << 20
"""Default limit of the body of one request, larger than any usual batch or record."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class _Verdicts:
    """A `Holder` that stores the verdicts."""

    def __init__(self) -> None:
        self.of: dict[Record, Verdict] = {}

    def settle(self, record: Record, verdict: Verdict | None) -> None:
        if verdict is not None:
            self.of[record] = verdict

    def release(self, record: Record) -> None:
        """Do nothing, because the request of the record was cancelled too."""


class _TooLargeError(Exception):
    """The error of a body above the limit."""


class _DisconnectedError(Exception):
    """The error of a daemon that disconnected before the end of the body."""


def asgi(
    handler: Handler,
    *,
    concurrency: int = 64,
    after_dead_letter: Literal["continue", "block"] = "continue",
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Application:
    """Return an ASGI application that answers POST and PUT at every path.

    Args:
        handler: the function that processes a record; a plain function runs in threads.
        concurrency: the largest number of threads, and of keys of one batch that are processed at a time. The daemon's
            `delivery.concurrency_max` limits the number of requests.
        after_dead_letter: the daemon's `ordering.after_dead_letter`; with `block`, later records of a dead-lettered key in
            the same batch are not processed.
        body_bytes_max: the largest body in bytes; a larger one is answered with 413, which dead-letters its record.
    """
    return _Application(Calls(handler, concurrency), concurrency, after_dead_letter, body_bytes_max)


class _Application:
    def __init__(self, calls: Calls, concurrency: int, after_dead_letter: str, body_bytes_max: int) -> None:
        self._calls = calls
        self._concurrency = concurrency
        self._stops_at_dead_letter = after_dead_letter == "block"
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(self._calls, receive, send)
        elif scope["type"] != "http":
            raise RuntimeError(f"the proxy does not use {scope['type']}")
        elif scope["method"] not in {"POST", "PUT"}:
            await _respond(send, 405, [(b"allow", b"POST, PUT")], b"records come by POST or PUT\n")
        else:
            with suppress(_DisconnectedError):
                await self._post(scope["headers"], receive, send)

    async def _post(self, headers: Headers, receive: Receive, send: Send) -> None:
        try:
            body = await _body(receive, self._body_bytes_max)
            media_type = value_of(headers, b"content-type").split(b";")[0].strip().lower()
            if media_type == cloud_events.MEDIA_TYPE and not value_of(headers, b"mps-topic"):
                answered = await self._batch(body)
            else:
                record = record_of(headers, body)
                verdicts = await self._work([record])
                answered = *answer(verdicts.get(record)), b""
        except BadRequestError as error:
            answered = 400, [(b"mps-reason", header_text(str(error)))], f"{error}\n".encode()
        except _TooLargeError:
            answered = 413, [(b"connection", b"close")], b"the body is too large\n"
        await _respond(send, *answered)

    async def _batch(self, body: bytes) -> tuple[int, Headers, bytes]:
        events = cloud_events.records_of(body)
        verdicts = await self._work([record for _, record in events])
        content = cloud_events.answer(
            [(event_id, verdicts[record]) for event_id, record in events if record in verdicts]
        )
        return 200, [(b"content-type", b"application/json")] if content else [], content

    async def _work(self, records: Sequence[Record]) -> dict[Record, Verdict]:
        """Process the records of a request; return the verdicts on those that were not processed."""
        verdicts, waiting = _Verdicts(), iter(lanes(records))
        if len(records) == 1:
            await self._work_lanes(waiting, verdicts)
            return verdicts.of
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._concurrency, len(records))):
                group.create_task(self._work_lanes(waiting, verdicts))
        return verdicts.of

    async def _work_lanes(self, waiting: Iterator[list[Record]], verdicts: _Verdicts) -> None:
        for lane in waiting:
            for record in lane:
                record.hold(verdicts)
                await self._calls.settle(record)
                verdict = verdicts.of.get(record)
                if isinstance(verdict, Retry) or (verdict is not None and self._stops_at_dead_letter):
                    break  # the daemon delivers the records behind it again


async def _live(calls: Calls, receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        if kind == "lifespan.shutdown":
            calls.close()
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _body(receive: Receive, bytes_max: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _DisconnectedError
        part = message.get("body", b"")
        size += len(part)
        if size > bytes_max:
            raise _TooLargeError
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts) if len(parts) > 1 else part


async def _respond(send: Send, status: int, headers: Headers, body: bytes = b"") -> None:
    length = [] if status == 204 else [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": int(status), "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})
