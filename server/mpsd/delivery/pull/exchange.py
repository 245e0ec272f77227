"""One request for records, from its wait to the last byte of its answer."""

import asyncio
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mpsd.delivery.pull.adapter import ClosingError, PullAdapter, TooManyWaitersError, Waiter
from mpsd.delivery.pull.leases import Lease
from mpsd.delivery.pull.messages import LeaseRequest
from mpsd.delivery.pull.peer_request import PeerAnswer
from mpsd.delivery.pull.peers import FORWARDED, RECORDS, SHARE, Peers, is_ahead
from mpsd.delivery.pull.record_json import RecordJson
from mpsd.delivery.pull.requests import refused
from mpsd.ports import Peer

READY_S = 0.02
"""Time in which what is ready here is well given, so who has nothing by then is tried elsewhere; also the shortest wait."""
PEERS_AGAIN_S = 1.0
"""Interval at which the first in line is tried elsewhere while it waits."""
RETRY_AFTER = {"retry-after": "1"}
NOTHING = b'{"records":[]}'


class LeaseExchange:
    """Waits for records, and gives back those that its caller cannot have got."""

    def __init__(
        self, adapter: PullAdapter, peers: Peers, wanted: LeaseRequest, request: Request, scheme: str, json: RecordJson
    ) -> None:
        self._adapter = adapter
        self._peers = peers
        self._wanted = wanted
        self._request = request
        self._scheme = scheme
        self._json = json
        self._authorization = request.headers.get("authorization")
        self._is_forwarded = FORWARDED in request.headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request.

        Raises:
            Refused: 429 or 503.
        """
        is_owed = is_ahead(self._request.headers.get(SHARE), self._adapter.leases_lately)
        if self._is_forwarded and (self._adapter.waiters or not is_owed):
            await _empty()(scope, receive, send)
            return
        waiter = self._ask()
        gone = asyncio.ensure_future(_gone(receive))
        try:
            given = await self._wait(waiter, gone)
            match given:
                case PeerAnswer():
                    await self._pass_on(given, gone, send)
                case Lease() if not gone.done():
                    await self._send(given, gone, send)
                case None if not gone.done():
                    await _empty()(scope, receive, send)
        except ClosingError as error:
            raise _closing() from error
        finally:
            self._adapter.leave(waiter)
            gone.cancel()

    def _ask(self) -> Waiter:
        try:
            return self._adapter.ask(self._wanted.records_max, self._wanted.lease_s)
        except ClosingError as error:
            raise _closing() from error
        except TooManyWaitersError as error:
            detail = f"{self._adapter.waiters} requests wait already, which is delivery.waiters_max"
            raise refused(HTTPStatus.TOO_MANY_REQUESTS, detail, RETRY_AFTER) from error

    async def _wait(self, waiter: Waiter, gone: asyncio.Future[None]) -> Lease | PeerAnswer | None:
        """Return the answer to the caller; None at the end of its wait, or if it is gone."""
        loop = asyncio.get_running_loop()
        wait_s = min(self._wanted.wait_s, self._adapter.settings.wait_max_s)
        ends_s = loop.time() + wait_s
        ask_peers = not self._is_forwarded
        turn = self._peers.turn() if ask_peers and self._adapter.is_first(waiter) else None
        if turn is not None and (answer := await self._elsewhere(waiter, gone, turn)) is not None:
            return answer
        await _first(waiter.given, gone, READY_S if ask_peers and self._peers else max(wait_s, READY_S))
        while not waiter.given.done() and not gone.done():
            if ask_peers and self._peers and (answer := await self._elsewhere(waiter, gone)) is not None:
                return answer
            if (left_s := ends_s - loop.time()) <= 0 or gone.done():
                break
            await _first(waiter.given, gone, min(left_s, PEERS_AGAIN_S) if ask_peers else left_s)
            ask_peers = not self._is_forwarded and self._adapter.is_first(waiter)
        return waiter.given.result() if waiter.given.done() else None

    async def _elsewhere(self, waiter: Waiter, gone: asyncio.Future[None], of: Peer | None = None) -> PeerAnswer | None:
        """Return records of another instance, or of the one that is named.

        The waiter is given none here meanwhile, because it could take only one of both.
        """
        self._adapter.suspend(waiter)
        # not cut short if the caller goes: what is given just then would be held for nobody
        if (answer := await self._peers.records(self._wanted, self._authorization, gone.done, of)) is not None:
            return answer
        self._adapter.resume(waiter)
        return None

    async def _pass_on(self, given: PeerAnswer, gone: asyncio.Future[None], send: Send) -> None:
        """Return the lease of another instance, and give it back if the caller cannot have got it."""
        if not gone.done():
            content_type = given.headers.get("content-type", "application/json")
            await _answer(given.body, content_type, given.headers[RECORDS], send)
        if gone.done():
            await self._peers.give_back(given, self._authorization)

    async def _send(self, lease: Lease, gone: asyncio.Future[None], send: Send) -> None:
        """Return the answer in the same step in which the records are checked, so that none can be taken back between."""
        records = self._adapter.hand_out(lease)
        body = NOTHING
        if records:
            url = self._url(lease)
            body = b'{"records":%b,"lease_id":"%b","lease_s":%b,"settle_url":%b,"extend_url":%b}' % (
                self._json.write(records),
                lease.id.encode(),
                to_json(lease.length_s),
                to_json(f"{url}/settle"),
                to_json(f"{url}/extend"),
            )
        await _answer(body, "application/json", str(len(records)), send)
        lease.is_taken = not gone.done()

    def _url(self, lease: Lease) -> str:
        """Return the URL to settle a lease at: the advertised address, else the one that this caller used."""
        at = self._adapter.peer.http or self._request.url.netloc
        return f"{self._scheme}://{at}/v1/subscriptions/{self._adapter.subscription}/leases/{lease.id}"


async def _answer(body: bytes, content_type: str, records: str, send: Send) -> None:
    """Send the answer; begin in the step of the loop in which this is called.

    The last, empty part waits until the connection has taken all before it, so that a caller which went away in the middle
    is noticed.
    """
    headers = [
        (b"content-type", content_type.encode("latin-1")),
        (b"content-length", b"%d" % len(body)),
        (RECORDS.encode(), records.encode("latin-1")),
    ]
    await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    """Wait until the caller has gone; the body of its request was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first(one: asyncio.Future[Any], gone: asyncio.Future[None], timeout_s: float | None) -> None:
    await asyncio.wait({one, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)


def _empty() -> Response:
    return Response(NOTHING, headers={RECORDS: "0"}, media_type="application/json")


def _closing() -> Exception:
    return refused(HTTPStatus.SERVICE_UNAVAILABLE, "the daemon is shutting down: ask another one", RETRY_AFTER)
