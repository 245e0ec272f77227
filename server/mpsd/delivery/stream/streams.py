"""The streams of one subscription: settlements of clients become outcomes, and so do leases that end."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from secrets import token_hex

from mps.delivery.v1.delivery_pb2 import Extend, Open, Settle
from mpsd.config import Stream, StreamDelivery
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import DELIVERED, Outcome, Retryable, Withdrawn
from mpsd.delivery.stream.requests import BadFrame, check_credit, check_extend, parsed, settlements
from mpsd.delivery.stream.session import Client, Session
from mpsd.delivery.stream.spread import Spread
from mpsd.delivery.stream.wire import RecordWriter

NOT_SENT = Withdrawn(reason="not sent yet when it was taken back")
CLOSED = Withdrawn(reason="the client closed its stream")
SWEEPS = 20
"""Looks at all leases within the shortest time, so that none is exceeded by much."""
SWEEP_S_MIN = 0.005
SWEEP_S_MAX = 0.5


@dataclass(slots=True)
class _Drain:
    """A wait until nothing of an assignment (None: of any) is in flight; `left` is counted down."""

    assignment: Assignment | None
    left: int
    done: asyncio.Future[None]


class Streams:
    """The deliveries that streams hold, each of which ends once.

    Takes: deliveries for streams with credit; frames of clients.
    Gives: outcomes, never from within `assign`.
    Holds at most: what it is given.

    Args:
        may_start: whether a delivery may start now; asked before each frame of records, as they may have had to wait.
    """

    def __init__(
        self,
        delivery: StreamDelivery,
        stream: Stream,
        on_demand: Callable[[], None],
        settle: Callable[[Delivery, Outcome], None],
        may_start: Callable[[], bool],
        writer: RecordWriter,
    ) -> None:
        self._delivery = delivery
        self._stream = stream
        self._sweep_s = min(max(min(delivery.lease_s, stream.keep_alive_s) / SWEEPS, SWEEP_S_MIN), SWEEP_S_MAX)
        self._on_demand = on_demand
        self._settle = settle
        self._may_start = may_start
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._drains: list[_Drain] = []
        self.spread = Spread()
        self.sessions: dict[str, Session] = {}
        self.in_flight = 0
        self.counts: Counter[str] = Counter()
        self.all_gone = asyncio.Event()
        self.all_gone.set()
        self._sweeping = self._loop.call_later(self._sweep_s, self._sweep)

    def stop(self) -> None:
        """Stop the timer."""
        self._sweeping.cancel()

    def assign(self, batch: Sequence[Delivery]) -> None:
        """Assign deliveries to streams, to each within its credit."""
        now_s = self._loop.time()
        self.in_flight += len(batch)
        self.counts["records"] += len(batch)
        begin = 0
        for session, share in self.spread.shares(len(batch)):
            session.assign(batch[begin : begin + share], now_s)
            self.spread.count(session)
            begin += share
        for delivery in batch[begin:]:  # records are granted here and bytes there: it has to wait for bytes
            max(self.sessions.values(), key=_waits_well).assign([delivery], now_s)

    # a stream's life
    def open(self, opening: Open, client: Client, peers: Sequence[str]) -> Session:
        """Add a stream of a client; `opening` is checked."""
        session = Session(token_hex(6), client, self._delivery, self._stream, self._writer, self._loop.time())
        self.sessions[session.name] = session
        self.all_gone.clear()
        self.counts["opened"] += 1
        self.spread.join(session)
        if peers:
            session.tell_peers(peers)
        self._grant(session, opening.credit.records, opening.credit.bytes)
        return session

    def may_send(self, session: Session) -> bool:
        """Return True if waiting records may be sent; else take them back, because the membership is not confirmed."""
        if self._may_start():
            return True
        self._withdraw_unsent(session, None)
        return False

    def moved(self, session: Session) -> None:
        """Count a stream again whose credit may have changed."""
        self.spread.count(session)
        if session.free:
            self._on_demand()

    def closed(self, session: Session) -> None:
        """Withdraw the deliveries of a stream that ended cleanly; no attempt is counted."""
        self._gone(session, "closed", CLOSED)

    def lost(self, session: Session, outcome: Outcome) -> None:
        """End the sent deliveries of a lost stream with this outcome, in order, and withdraw the unsent ones."""
        self._gone(session, "lost", outcome)

    def _gone(self, session: Session, how: str, outcome: Outcome) -> None:
        if self.sessions.pop(session.name, None) is None:
            return
        self.counts[how] += 1
        session.end()
        self.spread.count(session)
        sent_id = session.unsettled.sent_id
        for delivery_id in session.unsettled.ids():
            self._ended(session.take_back(delivery_id), outcome if delivery_id <= sent_id else NOT_SENT)
        if not self.sessions:
            self.all_gone.set()

    # what clients say
    def receive(self, session: Session, data: bytes) -> None:
        """Handle a frame after the first.

        Raises:
            BadFrame: nothing of it counts.
        """
        request = parsed(data)
        match request.WhichOneof("frame"):
            case "settle":
                self._settled(session, request.settle)
            case "credit":
                check_credit(request.credit)
                self._grant(session, request.credit.records, request.credit.bytes)
            case "extend":
                self._extend(session, request.extend)
            case _:
                raise BadFrame("open", "the stream is open already")

    def _grant(self, session: Session, records: int, size: int) -> None:
        session.grant(records, size)
        self.moved(session)

    def _settled(self, session: Session, settle: Settle) -> None:
        others = settlements(settle)
        unsettled, stale = session.unsettled, list[int]()
        for delivery_id in settle.acks:
            if (delivery := unsettled.settle(delivery_id)) is None:
                stale.append(delivery_id)
            else:
                self._ended(delivery, DELIVERED)
        self.counts["stale_acks"] += len(stale)
        for kind, delivery_id, outcome in others:
            if (delivery := unsettled.settle(delivery_id)) is None:
                self.counts[f"stale_{kind}"] += 1
                stale.append(delivery_id)
            else:
                self._ended(delivery, outcome)
        if stale:
            session.tell_stale(stale)
        session.settled()

    def _extend(self, session: Session, extend: Extend) -> None:
        check_extend(extend)
        now_s = self._loop.time()
        lease_s = extend.lease_ms / 1000 or self._delivery.lease_s
        stale = [each for each in extend.delivery_ids if not session.unsettled.extend(each, lease_s, now_s)]
        if stale:
            self.counts["stale_extends"] += len(stale)
            session.tell_stale(stale)

    # what ends by itself
    def _sweep(self) -> None:
        """End leases and keep streams alive; the only timer."""
        now_s, sweep_s = self._loop.time(), self._sweep_s
        self._sweeping = self._loop.call_later(sweep_s, self._sweep)
        for session in list(self.sessions.values()):
            session.look_after(now_s, sweep_s)
            if over := session.unsettled.expired(now_s):
                self._expire(session, over)

    def _expire(self, session: Session, over: Sequence[int]) -> None:
        sent = [delivery_id for delivery_id in over if delivery_id <= session.unsettled.sent_id]
        if len(sent) < len(over):
            session.stuck()
        self.counts["lease_expired"] += len(sent)
        if sent:
            session.tell_stale(sent)
        reason = f"not settled within its lease by {session.client.name or session.client.peer}"
        outcome = Retryable(code="lease_expired", reason=reason, lost=True)
        self._take_back(session, over, outcome)

    # taking back
    def withdraw_unsent(self, assignment: Assignment | None) -> None:
        """Withdraw unsent deliveries of an assignment; None for all."""
        for session in list(self.sessions.values()):
            self._withdraw_unsent(session, assignment)

    def withdraw(self, assignment: Assignment | None, outcome: Withdrawn) -> None:
        """Withdraw unsettled deliveries and tell the clients, whose settlements are stale from then on."""
        for session in list(self.sessions.values()):
            if ids := list(session.unsettled.ids(assignment)):
                session.tell_stale(ids)
                self._take_back(session, ids, outcome)

    async def drained(self, assignment: Assignment | None) -> None:
        """Wait until nothing of the assignment (None: of any) is in flight."""
        while left := sum(1 for session in self.sessions.values() for _ in session.unsettled.ids(assignment)):
            drain = _Drain(assignment, left, self._loop.create_future())
            self._drains.append(drain)
            try:
                await drain.done
            finally:
                self._drains.remove(drain)

    def _withdraw_unsent(self, session: Session, assignment: Assignment | None) -> None:
        if session.unsettled.unsent:
            sent_id = session.unsettled.sent_id
            self._take_back(session, [each for each in session.unsettled.ids(assignment) if each > sent_id], NOT_SENT)

    def _take_back(self, session: Session, ids: Iterable[int], outcome: Outcome) -> None:
        sent_id = session.unsettled.sent_id
        for delivery_id in ids:
            self._ended(session.take_back(delivery_id), outcome if delivery_id <= sent_id else NOT_SENT)
        session.settled()
        self.moved(session)

    def _ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle a delivery; the only place that does."""
        self.in_flight -= 1
        self._settle(delivery, outcome)
        if self._drains:
            for drain in self._drains:
                if drain.assignment is None or drain.assignment is delivery.assignment:
                    drain.left -= 1
                    if drain.left == 0 and not drain.done.done():
                        drain.done.set_result(None)


def _waits_well(session: Session) -> tuple[bool, int]:
    """Return a sort key: streams that lack only bytes come first, because a stuck one would keep the record for its lease."""
    return session.is_taking, session.credit
