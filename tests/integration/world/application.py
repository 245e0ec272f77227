"""An application that takes records over HTTP, does as the test tells it, and remembers when each delivery began and ended."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Self
from urllib.parse import unquote, unquote_to_bytes

import httptools
from typing_extensions import override

from mpsd.core.outcome import Delivered, Retryable
from mpsd.demo.broker.ports import free_ports
from mpsd.demo.guarantees.event_log import outcome_of
from mpsd.demo.guarantees.events import DeliveryEnded, DeliveryStarted, OutageBegan, OutageEnded, SeenRecord, TimedEvent
from mpsd.demo.guarantees.guarantee import RecordPosition
from tests.integration.world.patience import PATIENCE_S, until

_HEADERS = "mps-headers"


class Answer(NamedTuple):
    """An answer to the daemon, after `after_s`."""

    status: int = 200
    reason: str = ""
    after_s: float = 0.0


OK = Answer()
NO_ANSWER: Final = None
"""No answer for now: until `Application.release`."""


class Request(NamedTuple):
    """One delivery, decoded.

    Attributes:
        record: as it arrived, all percent-encoding undone.
        headers: the request's own, names in lower case; those of the record are left out.
    """

    record: SeenRecord
    attempt: int
    epoch: int
    headers: dict[str, str]

    @property
    def place(self) -> RecordPosition:
        return RecordPosition.of(self.record)


Behaviour = Callable[[Request], Answer | None]


class Application:
    """Listens on a free port of the loopback interface. Use it with `async with`.

    Args:
        behaviour: decides each answer; may be replaced at any time.
    """

    def __init__(self, behaviour: Behaviour = lambda _: OK, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = behaviour
        self.events: list[TimedEvent] = []
        self.requests = 0
        self.accepted: dict[RecordPosition, int] = {}
        """Times that each record was accepted."""
        self.in_flight = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self.port = 0
        self._connections: set[_Connection] = set()
        self._held: dict[_Connection, Request] = {}
        self._working: dict[tuple[str, int, bytes | None], _Connection] = {}
        """The connection by which a key is in flight."""

    @override
    def __repr__(self) -> str:
        return (
            f"<Application :{self.port} requests={self.requests} accepted={len(self.accepted)} held={len(self._held)}>"
        )

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/records"

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def __aenter__(self) -> Self:
        for _ in range(5):
            (self.port,) = free_ports(1)  # not of the range of outgoing connections, so that it can come back to it
            with suppress(OSError):
                await self._listen()
                return self
        raise OSError("no port could be taken")

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def go_away(self) -> None:
        """Nobody listens any more, and every connection is cut."""
        self.events.append(OutageBegan(time.monotonic()))
        await self._close()

    async def come_back(self) -> None:
        """At the same address."""
        await self._listen()
        self.events.append(OutageEnded(time.monotonic()))

    def hold_all(self) -> None:
        """Take requests, and answer none."""
        self.behaviour = lambda _: NO_ANSWER

    def heal(self) -> None:
        """Accept everything, that which is held first."""
        self.behaviour = lambda _: OK
        self.release()

    def release(self, answer: Answer = OK) -> None:
        """Answer what is held."""
        held, self._held = self._held, {}
        for connection, request in held.items():
            self._end(connection, request, answer)

    async def accepts(self, count: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until so many records were accepted."""
        await until(lambda: len(self.accepted) >= count, f"{count} records are accepted: {self}", timeout_s)

    @property
    def held(self) -> int:
        return len(self._held)

    def holding(self) -> list[Request]:
        """Return the requests that wait for their answer."""
        return list(self._held.values())

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, ssl=self._tls, backlog=1024
        )

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        while self._connections:  # noqa: ASYNC110 - they are told in the loop's next turn
            await asyncio.sleep(0)
        self._server = None

    def opened(self, connection: "_Connection") -> None:
        self._connections.add(connection)

    def closed(self, connection: "_Connection", request: Request | None) -> None:
        self._connections.discard(connection)
        self._held.pop(connection, None)
        if request is not None:
            self._finished(connection, request)
            lost = Retryable(code="lost", reason="the connection was lost before the answer", lost=True)
            self.events.append(DeliveryEnded(_bare(request.record), time.monotonic(), lost))

    def received(self, connection: "_Connection", request: Request) -> None:
        key = _key(request)
        if key in self._working and self._working[key].is_gone():
            self._working[key].abort()  # a loop that was late hears of what came first and of what came next at once
        self._working[key] = connection
        self.requests += 1
        self.in_flight += 1
        self.events.append(DeliveryStarted(_bare(request.record), time.monotonic(), request.attempt))
        answer = self.behaviour(request)
        if answer is None:
            self._held[connection] = request
        elif answer.after_s:
            asyncio.get_running_loop().call_later(answer.after_s, self._end, connection, request, answer)
        else:
            self._end(connection, request, answer)

    def _end(self, connection: "_Connection", request: Request, answer: Answer) -> None:
        if connection.request is not request:
            return  # lost meanwhile
        if connection.is_gone():
            connection.abort()
            return
        self._finished(connection, request)
        outcome = outcome_of(answer.status, answer.reason)
        self.events.append(DeliveryEnded(_bare(request.record), time.monotonic(), outcome))
        if isinstance(outcome, Delivered):
            self.accepted[request.place] = self.accepted.get(request.place, 0) + 1
        connection.answer(answer)

    def _finished(self, connection: "_Connection", request: Request) -> None:
        self.in_flight -= 1
        if self._working.get(_key(request)) is connection:
            del self._working[_key(request)]


class _Connection(asyncio.Protocol):
    def __init__(self, application: Application) -> None:
        self._application = application
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self.request: Request | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._application.opened(self)

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        request, self.request = self.request, None
        self._application.closed(self, request)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        request = _decoded(self._headers, b"".join(self._body))
        self._headers, self._body, self.request = [], [], request
        self._application.received(self, request)

    def answer(self, answer: Answer) -> None:
        self.request = None
        body = answer.reason.encode()
        reason = f"mps-reason: {answer.reason}\r\n" if answer.reason else ""
        head = f"HTTP/1.1 {answer.status} Said\r\n{reason}content-length: {len(body)}\r\n\r\n"
        if self._transport is not None:
            self._transport.write(head.encode() + body)

    def is_gone(self) -> bool:
        """Return True if the other end has closed the connection, also where the loop has not heard of it yet."""
        if self._transport is None or self._transport.is_closing():
            return True
        end = socket.socket(
            socket.AF_INET, socket.SOCK_STREAM, fileno=self._transport.get_extra_info("socket").fileno()
        )
        try:
            return not end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            end.detach()

    def abort(self) -> None:
        """Cut at once: what becomes due before the loop tells of it must not pass for an answer."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)


def _key(request: Request) -> tuple[str, int, bytes | None]:
    return request.record.topic, request.record.partition, request.record.key


def _decoded(lines: Sequence[tuple[str, str]], body: bytes) -> Request:
    headers = {name.lower(): value for name, value in lines if name.lower() != _HEADERS}
    fields = "".join(value for name, value in lines if name.lower() == _HEADERS)
    key = headers.get("mps-key")
    record = SeenRecord(
        topic=unquote(headers["mps-topic"]),
        partition=int(headers["mps-partition"]),
        offset=int(headers["mps-offset"]),
        key=None if key is None else unquote_to_bytes(key),
        timestamp=int(headers["mps-timestamp"]),
        value=None if headers.get("mps-tombstone") == "true" else body,
        headers=[
            (unquote(name), unquote_to_bytes(value))
            for name, _, value in (field.partition("=") for field in fields.split("&") if fields)
        ],
    )
    return Request(record, int(headers["mps-attempt"]), int(headers["mps-epoch"]), headers)


def _bare(record: SeenRecord) -> SeenRecord:
    """Return the part that a judge needs, because values of thousands of records would fill the memory."""
    return SeenRecord(record.topic, record.partition, record.offset, record.key)
