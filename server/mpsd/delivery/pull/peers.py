"""The other instances behind a load balancer: whose a lease is, and who has records where there are none here."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import quote

from pydantic_core import from_json

from mpsd.delivery.pull.adapter import PullAdapter
from mpsd.delivery.pull.leases import holder
from mpsd.delivery.pull.messages import LeaseRequest
from mpsd.delivery.pull.peer_request import PeerAnswer, PeerClient, PeerError
from mpsd.ports import Peer

IDLE_S = 0.2
"""Time for which an instance that had nothing is passed over when its turn comes; its records wait for no longer than that."""
SILENT_S = 10.0
"""Time for which one is passed over that did not answer: each time a caller waits for up to `ASK_S_MAX`."""
PEERS_ASKED_MAX = 3
"""Instances that one request for records is tried at before it waits; the next one goes on with the next."""
ASK_S_MAX = 1.0
"""For all of them together, because the caller is given nothing here meanwhile."""
FORWARD_S_MAX = 5.0
"""For a settlement; a client may repeat it then."""
FORWARDED = "mps-forwarded"
"""The header of a request that comes from another instance: it is never passed on again."""
MEANT = "mps-instance"
"""The header of such a request that says which instance is meant; another one that is reached refuses it."""
SHARE = "mps-share"
"""The header of a request that is made in turn: how many leases the asking instance gave lately of its own records."""
AHEAD = 1.25
"""Lead that it must have over this one to be given records: where callers come to all alike, none needs another's."""
RECORDS = "mps-records"
"""The header of an answer that says how many records are in it."""

log = logging.getLogger("mpsd.pull")


def is_ahead(share: str | None, own: float) -> bool:
    """Return False if an instance asks in turn whose records are not taken faster than those here.

    Args:
        share: the header of the request; None for one that is not made in turn.
        own: how many leases were given here lately.
    """
    try:
        return share is None or float(share) >= AHEAD * own
    except ValueError:
        return False


class Peers:
    """The requests of one subscription to the other instances.

    Args:
        client: None where instances do not speak to each other.
    """

    def __init__(self, adapter: PullAdapter, client: PeerClient) -> None:
        self._adapter = adapter
        self._client = client
        self._path = f"/v1/subscriptions/{adapter.subscription}/leases"
        self._first = 0
        self._turns = 0
        self._passed_over: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._adapter.peers)

    def holder(self, lease_id: str) -> Peer | None:
        """Return the other instance whose lease it is; None if it is none of theirs."""
        instance = holder(lease_id)
        return next((peer for peer in self._adapter.peers if peer.instance == instance), None)

    def turn(self) -> Peer | None:
        """Return the instance that gives the next caller its records; None for this one.

        Each in turn, so that callers who all come here, and cannot keep up, take from all instances alike. One that had
        nothing, because its own callers keep up or nothing comes, is passed over for a while.
        """
        peers = self._adapter.peers
        place, self._turns = self._turns % (len(peers) + 1), self._turns + 1
        if not place:
            return None
        peer = peers[place - 1]
        is_due = self._passed_over.get(peer.instance, 0.0) <= asyncio.get_running_loop().time()
        return peer if is_due else None

    def _pass_over(self, peer: Peer, pause_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        self._passed_over = {each: until_s for each, until_s in self._passed_over.items() if until_s > now_s}
        self._passed_over[peer.instance] = now_s + pause_s

    async def records(
        self,
        wanted: LeaseRequest,
        authorization: str | None,
        is_gone: Callable[[], bool],
        of: Peer | None = None,
    ) -> PeerAnswer | None:
        """Return a lease of another instance; None if no instance has records, or none answers in time.

        A caller that cannot use the lease any more calls `give_back`.

        Args:
            is_gone: returns True if the caller has gone, so that no other instance is asked.
            of: the only one to ask; None: some of them, beginning where the last request ended.
        """
        peers = self._adapter.peers if of is None else [of]
        asked = wanted.model_copy(update={"wait_s": 0.0}).model_dump_json(exclude_none=True).encode()
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + ASK_S_MAX
        for _ in range(min(PEERS_ASKED_MAX, len(peers))):
            peer = peers[self._first % len(peers)]
            try:
                left_s = ends_s - loop.time()
                share = None if of is None else self._adapter.leases_lately
                answer = await self._post(peer, self._path, asked, authorization, left_s, share)
            except PeerError as error:
                self._failed(error)
                self._pass_over(peer, SILENT_S)
            else:
                if answer.status == 200 and answer.headers.get(RECORDS, "0") != "0":
                    return answer
                self._pass_over(peer, IDLE_S)
            self._first += of is None
            if is_gone():
                break
        return None

    async def give_back(self, given: PeerAnswer, authorization: str | None) -> None:
        """Give back a lease that the caller cannot have got. An instance that cannot be reached ends it when its time is over."""
        try:
            lease_id = str(from_json(given.body)["lease_id"])
        except (ValueError, TypeError, LookupError):
            return
        if (peer := self.holder(lease_id)) is not None:
            await self.forward(peer, lease_id, "give-back", b"", authorization)

    async def forward(
        self, peer: Peer, lease_id: str, what: str, body: bytes, authorization: str | None
    ) -> PeerAnswer | None:
        """Return the answer to `settle`, `extend` or `give-back` of the instance that has the lease; None if there is none."""
        path = f"{self._path}/{quote(lease_id, safe='')}/{what}"
        try:
            return await self._post(peer, path, body, authorization, FORWARD_S_MAX)
        except PeerError as error:
            self._failed(error)
            return None

    async def _post(
        self,
        peer: Peer,
        path: str,
        body: bytes,
        authorization: str | None,
        timeout_s: float,
        share: float | None = None,
    ) -> PeerAnswer:
        """Send a POST to an instance. Raises PeerError if it does not answer, or if another instance does."""
        headers: Mapping[str, str] = {
            "content-type": "application/json",
            FORWARDED: self._adapter.ids.instance,
            MEANT: peer.instance,
            **({"authorization": authorization} if authorization is not None else {}),
            **({SHARE: f"{share:.3f}"} if share is not None else {}),
        }
        answer = await self._client.post(peer.http, path, headers, body, timeout_s)
        if answer.status == HTTPStatus.MISDIRECTED_REQUEST:
            raise PeerError(f"{peer.http}: another daemon answers there than {peer.instance} on {peer.host}")
        return answer

    def _failed(self, error: PeerError) -> None:
        extra = {"code": "pull.peer", "subscription": self._adapter.subscription}
        log.warning("request to another instance failed: %s; trying again with a later request", error, extra=extra)
