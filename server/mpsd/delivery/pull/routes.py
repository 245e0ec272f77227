"""The endpoints of the delivery contract, part D, on the HTTP listener."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from http import HTTPStatus

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from mpsd.delivery.pull.adapter import PullAdapter
from mpsd.delivery.pull.exchange import LeaseExchange
from mpsd.delivery.pull.messages import ExtendRequest, LeaseRequest, SettleRequest
from mpsd.delivery.pull.peer_request import PeerAnswer, PeerClient
from mpsd.delivery.pull.peers import FORWARDED, MEANT, Peers
from mpsd.delivery.pull.record_json import RecordJson
from mpsd.delivery.pull.requests import Refused, body_of, read, refused
from mpsd.listeners.callers import caller_of, forbidden, unknown_caller
from mpsd.listeners.tokens import Tokens

LEASES = "/v1/subscriptions/{name}/leases"
SETTLE = LEASES + "/{lease_id}/settle"
EXTEND = LEASES + "/{lease_id}/extend"
GIVE_BACK = LEASES + "/{lease_id}/give-back"
"""The path of calls between instances, which is no part of the contract."""
RETRY_AFTER = {"retry-after": "1"}

Exchange = Callable[[Request, Receive, Send], Awaitable[None]]


class PullApi:
    """Callers of all subscriptions that are pulled.

    Args:
        adapters: by subscription.
        others: subscriptions that are delivered in other ways.
        body_bytes_max: of a request.
        tokens: who may call; None for everyone who can connect.
        scheme: `http` or `https`, for the addresses in answers.
    """

    def __init__(
        self,
        adapters: Mapping[str, PullAdapter],
        others: Collection[str],
        client: PeerClient,
        *,
        body_bytes_max: int,
        tokens: Tokens | None = None,
        scheme: str = "http",
    ) -> None:
        self._adapters = adapters
        self._peers = {name: Peers(adapter, client) for name, adapter in adapters.items()}
        self._json = {
            name: RecordJson(adapter.keys, adapter.settings.content_type) for name, adapter in adapters.items()
        }
        self._others = others
        self._body_bytes_max = body_bytes_max
        self._tokens = tokens
        self._scheme = scheme

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes of the pull API."""
        return [
            Route(path, _Endpoint(exchange), methods=["POST"])
            for path, exchange in (
                (LEASES, self._lease),
                (SETTLE, self._settle),
                (EXTEND, self._extend),
                (GIVE_BACK, self._give_back),
            )
        ]

    async def _lease(self, request: Request, receive: Receive, send: Send) -> None:
        adapter = self._adapter(request)
        wanted = read(LeaseRequest, await body_of(request, self._body_bytes_max) or b"{}")
        name = adapter.subscription
        exchange = LeaseExchange(adapter, self._peers[name], wanted, request, self._scheme, self._json[name])
        await exchange(request.scope, receive, send)

    async def _settle(self, request: Request, receive: Receive, send: Send) -> None:
        adapter, lease_id = self._adapter(request), request.path_params["lease_id"]
        body = await body_of(request, self._body_bytes_max)
        settlements = read(SettleRequest, body).settlements
        answer = await self._forwarded(adapter, lease_id, "settle", request, body)
        if answer is None:
            results = adapter.settle(lease_id, settlements)
            answer = _json(
                [
                    {"delivery_id": settlement.delivery_id, "result": result}
                    for settlement, result in zip(settlements, results, strict=True)
                ]
            )
        await answer(request.scope, receive, send)

    async def _extend(self, request: Request, receive: Receive, send: Send) -> None:
        adapter, lease_id = self._adapter(request), request.path_params["lease_id"]
        body = await body_of(request, self._body_bytes_max)
        wanted = read(ExtendRequest, body)
        answer = await self._forwarded(adapter, lease_id, "extend", request, body)
        if answer is None:
            results = adapter.extend(lease_id, wanted.delivery_ids, wanted.lease_s)
            answer = _json(
                [
                    {"delivery_id": delivery_id, "result": result, **({"lease_s": round(left_s, 3)} if left_s else {})}
                    for delivery_id, (result, left_s) in zip(wanted.delivery_ids, results, strict=True)
                ]
            )
        await answer(request.scope, receive, send)

    async def _give_back(self, request: Request, receive: Receive, send: Send) -> None:
        """Give back a lease that another instance fetched and its caller cannot have got."""
        adapter = self._adapter(request)
        if FORWARDED not in request.headers:
            raise refused(HTTPStatus.FORBIDDEN, "only instances give leases back: settle it, or let it end")
        adapter.give_back_all(request.path_params["lease_id"])
        await Response(status_code=HTTPStatus.NO_CONTENT)(request.scope, receive, send)

    def _adapter(self, request: Request) -> PullAdapter:
        """Return the adapter of the subscription that the request names.

        Raises:
            Refused: 401, 403, 404, 409 or 421.
        """
        name = request.path_params["name"]
        if self._tokens is not None:
            caller = caller_of(request, self._tokens)
            if caller is None:
                raise Refused(unknown_caller())
            if detail := caller.refusal(name):
                raise Refused(forbidden(detail))
        if (adapter := self._adapters.get(name)) is not None:
            return _meant(adapter, request)
        there = ", ".join(sorted(self._adapters)) or "none"
        if name in self._others:
            detail = f'subscription "{name}" is not pulled: its delivery.protocol is another; pulled are: {there}'
            raise refused(HTTPStatus.CONFLICT, detail)
        raise refused(HTTPStatus.NOT_FOUND, f"there is no such subscription; pulled are: {there}")

    async def _forwarded(
        self, adapter: PullAdapter, lease_id: str, what: str, request: Request, body: bytes
    ) -> Response | None:
        """Return the answer of the instance that has the lease; None if it is this one, or nobody's.

        Raises:
            Refused: 503, it does not answer.
        """
        peers = self._peers[adapter.subscription]
        if adapter.ids.is_ours(lease_id) or FORWARDED in request.headers:
            return None
        if (peer := peers.holder(lease_id)) is None:
            return None
        answer = await peers.forward(peer, lease_id, what, body, request.headers.get("authorization"))
        if answer is None:
            detail = "the instance that holds the lease does not answer: repeat the request"
            raise refused(HTTPStatus.SERVICE_UNAVAILABLE, detail, RETRY_AFTER)
        return as_it_was(answer)


class _Endpoint:
    """An exchange as an ASGI application; what it refuses becomes an answer."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._exchange(Request(scope, receive), receive, send)
        except Refused as refusal:
            await refusal.answer(scope, receive, send)


def _meant(adapter: PullAdapter, request: Request) -> PullAdapter:
    """Return the adapter; raises Refused (421) if an instance calls and means another process than this one."""
    own = adapter.ids.instance
    if request.headers.get(MEANT, own) != own:
        detail = f"daemon {own} answers here, and another one is meant: set advertise in [http] of each daemon"
        raise refused(HTTPStatus.MISDIRECTED_REQUEST, detail)
    return adapter


def as_it_was(answer: PeerAnswer) -> Response:
    """Return another instance's answer as a response."""
    kept = {name: answer.headers[name] for name in ("content-type", "retry-after") if name in answer.headers}
    return Response(answer.body, answer.status, headers=kept)


def _json(results: list[dict[str, object]]) -> Response:
    return Response(b'{"results":%b}' % to_json(results), media_type="application/json")
