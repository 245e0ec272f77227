"""Health and metrics over HTTP."""

import asyncio
import json
from collections.abc import Callable, Sequence
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from typing_extensions import override

from mpsd.admin.daemon import Daemon
from mpsd.listeners.callers import caller_of, forbidden, unknown_caller
from mpsd.listeners.problem import problem
from mpsd.listeners.rights import Role
from mpsd.listeners.tokens import Tokens

END = b"# EOF\n"
"""The line that ends every answer in OpenMetrics, and stands nowhere else."""


class Probes:
    """The handlers of the endpoints. /healthz and /readyz are open to all, because probes have no token."""

    def __init__(self, daemon: Daemon, metrics: CollectorRegistry, tokens: Tokens | None) -> None:
        self._daemon = daemon
        self._metrics = metrics
        self._tokens = tokens

    async def healthz(self, _request: Request) -> Response:
        """Answer 200 while the process is alive; an answer shows that the event loop turns."""
        return _status("alive", self._daemon.not_alive())

    async def readyz(self, _request: Request) -> Response:
        return _status("ready", self._daemon.not_ready())

    async def metrics(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(await _in_turns(self._metrics, encode), headers={"content-type": content_type})

    def _refused(self, request: Request) -> Response | None:
        if self._tokens is None:
            return None
        caller = caller_of(request, self._tokens)
        if caller is None:
            return unknown_caller()
        if caller.role < Role.VIEWER:
            return forbidden(f"metrics need the role viewer; {caller.name} has {caller.role.name.lower()}")
        return None


def http_app(
    daemon: Daemon, metrics: CollectorRegistry, tokens: Tokens | None = None, routes: Sequence[BaseRoute] = ()
) -> Starlette:
    """Return the application of the HTTP listener.

    Args:
        tokens: who may read metrics; None for everyone who can connect.
        routes: of other parts of the daemon that share the listener.
    """
    probes = Probes(daemon, metrics, tokens)
    own = [Route(f"/{handler.__name__}", handler) for handler in (probes.healthz, probes.readyz, probes.metrics)]
    paths = ", ".join(dict.fromkeys(route.path for route in [*own, *routes] if isinstance(route, Route)))

    async def http_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        match status:
            case HTTPStatus.NOT_FOUND:
                detail = f"nothing here; there are {paths}"
            case HTTPStatus.METHOD_NOT_ALLOWED:
                detail = f"allowed are {(error.headers or {}).get('Allow', 'GET')}"
            case _:
                detail = error.detail
        return problem(status, detail, error.headers)

    async def failed(_request: Request, _error: Exception) -> Response:
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the daemon's log says why")

    return Starlette(
        routes=[*own, *routes],
        exception_handlers={HTTPException: http_error, Exception: failed},
    )


class _Only(Collector):
    """A collector of a single metric family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    @override
    def collect(self) -> Sequence[Metric]:
        return (self._family,)


async def _in_turns(metrics: CollectorRegistry, encode: Callable[[Collector], bytes]) -> bytes:
    """Encode all families, one for each turn of the loop, because 1,000 partitions take 80 ms and deliveries must not wait."""
    text = []
    for family in metrics.collect():
        text.append(encode(_Only(family)).removesuffix(END))
        await asyncio.sleep(0)
    return b"".join((*text, encode(CollectorRegistry())))


def _status(state: str, reasons: Sequence[str]) -> Response:
    body = {"status": f"not {state}" if reasons else state, "reasons": list(reasons)}
    return Response(
        json.dumps(body),
        HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK,
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )
