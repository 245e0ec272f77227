"""An HTTP listener inside the daemon's own loop: uvicorn without its signals and logging, and with bounds.

Source: uvicorn has no time limit for a request that arrives slowly, and accepts connections without bound; both end here.
"""

import asyncio
import logging
import socket
import ssl
from asyncio import BaseTransport, TimerHandle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server

from mpsd.listeners.callers import CERTIFIED, names_in

KEEP_ALIVE_S = 75
"""Longer than the usual scrape interval of a minute."""
CLOSE_S_MAX = 2
"""Time that answers may take that are under way when the listener closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The bounds on what clients can make a listener hold.

    Attributes:
        connections_max: far more than scrapers, probes and dashboards open, far fewer than the file descriptors that
            Kafka needs as well.
        request_s_max: from the connection, or the first byte of a later request, to its last.
        stall_s_max: how long a client may leave an answer unread while it fills our buffer.
    """

    connections_max: int = 512
    header_bytes_max: int = 16_384
    request_s_max: float = 10.0
    stall_s_max: float = 10.0


log = logging.getLogger("mpsd.http")


class BoundedProtocol(H11Protocol):
    """A connection that is closed when its request does not arrive in time, or its answer is not read."""

    bounds = Bounds()
    _deadline: TimerHandle | None = None
    _stalled: TimerHandle | None = None

    @override
    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))  # uvloop's is one in all but its class
        encryption = transport.get_extra_info("ssl_object")
        if encryption is not None and (names := names_in(encryption.getpeercert())):
            self.app = _certified(self.app, names)
        if len(self.connections) > self.bounds.connections_max:
            most = self.bounds.connections_max
            log.warning("more than %d connections; closing new ones", most, extra={"code": "listener.connections"})
            self.transport.abort()
        else:
            self._wait_for_request()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self._wait_for_request()
        else:
            self._have_request()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.bounds.stall_s_max, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_stall()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._have_request()
        self._forget_stall()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.bounds.request_s_max, self.transport.abort)

    def _have_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _forget_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def _certified(app: ASGIApp, names: tuple[str, ...]) -> ASGIApp:
    """Let an application know the names in the client's certificate."""

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {**scope.get("extensions", {}), CERTIFIED: names}}, receive, send)

    return told


@asynccontextmanager
async def serving_http(
    app: ASGIApp, listener: socket.socket, tls: ssl.SSLContext | None = None, bounds: Bounds = Bounds()
) -> AsyncIterator[None]:
    """Serve the application on a bound socket within the context.

    The socket is closed at the end. Cancelled while it ends, connections are cut off at once.
    """

    class Protocol(BoundedProtocol):
        pass

    Protocol.bounds = bounds
    config = Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=CLOSE_S_MAX,
        h11_max_incomplete_event_size=bounds.header_bytes_max,
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
    )
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    clock = asyncio.create_task(server.main_loop(), name="http date")
    try:
        yield
    finally:
        clock.cancel()
        try:
            await server.shutdown(sockets=[listener])
        finally:
            for connection in list(server.server_state.connections):
                connection.transport.abort()
