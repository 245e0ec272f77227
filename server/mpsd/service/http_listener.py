"""The HTTP listener: health, metrics, the pull API and its OpenAPI document."""

import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mpsd.admin.daemon import Steerable
from mpsd.admin.http import http_app
from mpsd.admin.metrics import registry
from mpsd.config import Config, PullDelivery
from mpsd.delivery.pull.adapter import PullAdapter
from mpsd.delivery.pull.peer_request import PeerClient
from mpsd.delivery.pull.routes import PullApi
from mpsd.listeners.http import Bounds, serving_http
from mpsd.listeners.tokens import Tokens
from mpsd.service.listener_files import watch_http_peers, watch_http_tls, watch_tokens
from mpsd.service.reload import Reloads

ANSWER_OF_LEASE = 8
"""Factor by which a lease may be longer as JSON: a byte becomes six characters at most, and names stand around it."""


@asynccontextmanager
async def serving_http_api(
    daemon: Steerable,
    config: Config,
    listener: socket.socket,
    reloads: Reloads,
    log_lines_suppressed: Callable[[], int],
) -> AsyncIterator[None]:
    """Serve within the context.

    Raises:
        ConfigError: the tokens file, or a file of `tls` or `peers_ca`, cannot be used.
    """
    tokens = watch_tokens(reloads, config, "http")
    routes = routes_of(daemon, config, tokens, watch_http_peers(reloads, config))
    app = http_app(daemon, registry(daemon, log_lines_suppressed), tokens, routes)
    async with serving_http(app, listener, watch_http_tls(reloads, config), bounds_of(config)):
        yield


def routes_of(
    daemon: Steerable, config: Config, tokens: Tokens | None, peers: ssl.SSLContext | None
) -> Sequence[BaseRoute]:
    """Return the HTTP routes for the subscriptions.

    Args:
        peers: how other instances are called; None: in plain text.
    """
    http = config.http
    delivered = {pipeline.settings.name: pipeline.adapter for pipeline in daemon.pipelines}
    adapters = {name: adapter for name, adapter in delivered.items() if isinstance(adapter, PullAdapter)}
    described = Route("/v1/openapi.json", _openapi)
    if not adapters:
        return (described,)
    answer_bytes_max = ANSWER_OF_LEASE * max(adapter.settings.bytes_max for adapter in adapters.values())
    api = PullApi(
        adapters,
        list(delivered),
        PeerClient(peers, max(answer_bytes_max, http.body_bytes_max)),
        body_bytes_max=http.body_bytes_max,
        tokens=tokens,
        scheme="https" if http.tls else "http",
    )
    return (*api.routes(), described)


async def _openapi(_request: Request) -> Response:
    """Answer everybody, because the document says nothing about this daemon."""
    from mpsd.delivery.openapi import document  # noqa: PLC0415 - few ask

    return Response(json.dumps(document(), ensure_ascii=False), media_type="application/json")


def bounds_of(config: Config) -> Bounds:
    """Return bounds with room for callers who wait for records, in addition to scrapers and probes."""
    ordinary = Bounds()
    waiting = sum(each.delivery.waiters_max for each in config.subscriptions if isinstance(each.delivery, PullDelivery))
    return Bounds(connections_max=ordinary.connections_max + waiting)
