"""From a URL's host to a new connection: names, addresses, TLS, and what each failure means."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from mpsd.config import ClientTls
from mpsd.core.outcome import Unavailable
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.client.handshake import describe_failure

RESOLVE_INTERVAL_S = 5.0
"""Time for which resolved addresses serve; new connections then ask again."""
TLS_SHUTDOWN_S = 1.0
"""Time that a peer may take to say goodbye."""


LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""From host and port to addresses; see `look_up`."""


class ConnectFailed(Exception):  # noqa: N818
    """No address of the endpoint could be connected to."""

    def __init__(self, outcome: Unavailable) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Connector(Protocol):
    """A way to open connections."""

    async def connect(self, factory: Callable[[], asyncio.Protocol], timeout_s: float) -> None:
        """Open one connection.

        Raises:
            ConnectFailed: with the outcome for the delivery that waits for it.
        """

    @property
    def addresses(self) -> int: ...


class EndpointConnector:
    """A maker of connections to all addresses of the endpoint in turn, to failed addresses last."""

    def __init__(
        self, endpoint: Endpoint, tls: ClientTls | None, look_up: LookUp, resolve_interval_s: float = RESOLVE_INTERVAL_S
    ) -> None:
        self._endpoint = endpoint
        self._material = material(tls) if endpoint.is_tls else ()
        self._look_up = look_up
        self._resolve_interval_s = resolve_interval_s
        self._context = tls_context(tls) if endpoint.is_tls else None
        self._has_certificate = tls is not None and tls.cert is not None
        self._addresses: list[str] = []
        self._failed: set[str] = set()
        self._resolved_s = float("-inf")
        self._lookup: asyncio.Future[Sequence[str]] | None = None
        self._turn = 0

    @property
    def addresses(self) -> int:
        """The number of addresses that the name had when it was last resolved."""
        return len(self._addresses)

    async def connect(self, factory: Callable[[], asyncio.Protocol], timeout_s: float) -> None:
        """Try each address once, in turn; each may take its share of the time.

        Raises:
            ConnectFailed: with what the last address said.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        await self._resolve(timeout_s)
        order = self._order()
        failure = Unavailable(code="unresolved", reason=f"{self._endpoint.host} has no address")
        for number, address in enumerate(order):
            share_s = max(0.0, deadline_s - loop.time()) / (len(order) - number)
            try:
                async with asyncio.timeout(share_s):
                    await self._connect_to(address, factory, share_s)
            except OSError as error:  # a TimeoutError and an ssl.SSLError are one, too
                self._failed.add(address)
                failure = self._meaning(error, address, timeout_s)
            else:
                self._failed.discard(address)
                return
        raise ConnectFailed(failure)

    def renew(self, endpoint: Endpoint, tls: ClientTls | None) -> bool:
        """Lead new connections elsewhere, or open them with other certificates; return True if anything differs.

        Raises:
            OSError: a file cannot be read or is not what it should be; then all stays as it was.
        """
        given = material(tls) if endpoint.is_tls else ()
        if (endpoint, given) == (self._endpoint, self._material):
            return False
        context = tls_context(tls) if endpoint.is_tls else None
        if (endpoint.host, endpoint.port) != (self._endpoint.host, self._endpoint.port):
            self._addresses, self._lookup, self._resolved_s = [], None, float("-inf")
            self._failed.clear()
        self._endpoint, self._material, self._context = endpoint, given, context
        return True

    async def close(self) -> None:
        if self._lookup is not None:
            self._lookup.cancel()
            await asyncio.wait([self._lookup])

    async def _connect_to(self, address: str, factory: Callable[[], asyncio.Protocol], share_s: float) -> None:
        loop = asyncio.get_running_loop()  # asyncio and uvloop both set TCP_NODELAY
        endpoint = self._endpoint
        if self._context is None:
            await loop.create_connection(factory, address, endpoint.port)
        else:
            await loop.create_connection(
                factory,
                address,
                endpoint.port,
                ssl=self._context,
                server_hostname=endpoint.host,
                ssl_handshake_timeout=max(share_s, 0.001),
                ssl_shutdown_timeout=TLS_SHUTDOWN_S,
            )

    async def _resolve(self, timeout_s: float) -> None:
        """Ask for the addresses unless they are recent; all who need them wait for one answer."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._resolved_s < self._resolve_interval_s:
            return
        if self._lookup is None:
            coming = self._look_up(self._endpoint.host, self._endpoint.port)
            self._lookup = asyncio.ensure_future(coming)
            self._lookup.add_done_callback(self._resolved)
        lookup = self._lookup
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(lookup)
        except (OSError, UnicodeError) as error:
            if not self._addresses:
                reason = f"{self._endpoint.host} cannot be resolved: {_words(error)}"
                raise ConnectFailed(Unavailable(code="unresolved", reason=reason)) from error

    def _resolved(self, lookup: asyncio.Future[Sequence[str]]) -> None:
        """Take the new addresses; old ones serve on for a while where there are none."""
        if lookup is not self._lookup:
            return  # of a host that is not asked for any more
        self._lookup = None
        if lookup.cancelled():
            return
        if lookup.exception() is None:
            self._addresses = list(lookup.result())
            self._failed.clear()
        if self._addresses:
            self._resolved_s = asyncio.get_running_loop().time()

    def _order(self) -> list[str]:
        """Return all addresses, starting with another one each time, failed addresses last."""
        if not self._addresses:
            return []
        self._turn += 1
        first = self._turn % len(self._addresses)
        turned = self._addresses[first:] + self._addresses[:first]
        return sorted(turned, key=self._failed.__contains__)

    def _meaning(self, error: OSError, address: str, timeout_s: float) -> Unavailable:
        where = f"{address} port {self._endpoint.port}"
        match error:
            case TimeoutError():
                return Unavailable(code="connect_timeout", reason=f"no connection to {where} within {timeout_s} s")
            case ssl.SSLError():
                why = describe_failure(error, has_certificate=self._has_certificate)
                return Unavailable(code="tls", reason=f"TLS with {where} failed: {why}")
            case ConnectionRefusedError():
                return Unavailable(code="refused", reason=f"{where} refused the connection")
            case ConnectionError() if self._context is not None:
                return Unavailable(code="tls", reason=f"{where} ended the TLS handshake: {_words(error)}")
            case _:
                return Unavailable(code="unreachable", reason=f"{where} cannot be reached: {_words(error)}")


def tls_context(tls: ClientTls | None) -> ssl.SSLContext:
    """Return a context that verifies the endpoint's certificate and name, always.

    Raises:
        OSError: a file cannot be read or is not what it should be (`ssl.SSLError`).
    """
    context = ssl.create_default_context(cafile=tls.ca if tls is not None else None)
    if tls is not None and tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def material(tls: ClientTls | None) -> tuple[bytes, ...]:
    """Return what the files of the settings hold, to tell whether any of them has changed.

    Raises:
        OSError: one cannot be read.
    """
    files = (tls.ca, tls.cert, tls.key) if tls is not None else ()
    return tuple(Path(file).read_bytes() if file else b"" for file in files)


async def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, each once, in the system's order.

    Raises:
        OSError: there is none (`socket.gaierror`), or nobody could tell.
        UnicodeError: it cannot be a name.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for _, _, _, _, sockaddr in found))


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
