"""What the HTTP listener serves beside health and metrics."""

import json
import ssl
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mpsd.config import Config, PullDelivery
from mpsd.delivery.pull.adapter import PullAdapter
from mpsd.delivery.pull.peer_request import PeerClient
from mpsd.delivery.pull.routes import PullApi
from mpsd.listeners.http import Bounds
from mpsd.listeners.tokens import Tokens
from mpsd.pipeline.pipeline import Pipeline

ANSWER_OF_LEASE = 8
"""How much longer a lease may be as JSON: a byte becomes six characters at most, and names stand around it."""


def routes_of(
    config: Config, pipelines: Sequence[Pipeline], tokens: Tokens | None, peers: ssl.SSLContext | None
) -> Sequence[BaseRoute]:
    """The endpoints for the subscriptions that there are.

    Args:
        peers: how other instances are called; None: in plain text.
    """
    http = config.http
    adapters = {
        pipeline.settings.name: pipeline.adapter for pipeline in pipelines if isinstance(pipeline.adapter, PullAdapter)
    }
    described = Route("/v1/openapi.json", _openapi)
    if not adapters:
        return (described,)
    answer_bytes_max = ANSWER_OF_LEASE * max(adapter.settings.bytes_max for adapter in adapters.values())
    api = PullApi(
        adapters,
        [pipeline.settings.name for pipeline in pipelines],
        PeerClient(peers, max(answer_bytes_max, http.body_bytes_max)),
        body_bytes_max=http.body_bytes_max,
        tokens=tokens,
        scheme="https" if http.tls else "http",
    )
    return (*api.routes(), described)


async def _openapi(_request: Request) -> Response:
    """Open to all: it says nothing about this daemon."""
    from mpsd.delivery.openapi import document  # noqa: PLC0415 - few ask

    return Response(json.dumps(document(), ensure_ascii=False), media_type="application/json")


def bounds_of(config: Config) -> Bounds:
    """Room for those who wait for records, beside scrapers and probes."""
    ordinary = Bounds()
    waiting = sum(each.delivery.waiters_max for each in config.subscriptions if isinstance(each.delivery, PullDelivery))
    return Bounds(connections_max=ordinary.connections_max + waiting)
