"""The delivery port for applications that ask for records."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from math import inf

from mpsd.config import PullDelivery, idempotency_header
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.idempotency import IdempotencyKeys
from mpsd.core.outcome import Outcome, Withdrawn
from mpsd.delivery.pull.leases import Held, Lease, LeaseIds, Leases, Pace, lost, outcome_of
from mpsd.delivery.pull.messages import LEASE_S_MIN, Settlement
from mpsd.listeners.reach import reachable
from mpsd.ports import AdapterStatistics, Demand, Peer

COUNTED = ("asked", "leases", "settled", "expired", "extended", "given_back")
PACE_S = 10.0
"""Over which instances compare how many leases they gave."""
_NOTHING = Demand(0, 0)


class Waiter:
    """A caller that waits for records.

    Attributes:
        given: the lease, set by `deliver`; who awaits it calls `adapter.leave` if the caller goes away.
    """

    __slots__ = ("given", "is_suspended", "lease_s", "records_max")

    def __init__(self, records_max: int, lease_s: float, given: asyncio.Future[Lease]) -> None:
        self.records_max = records_max
        self.lease_s = lease_s
        self.given = given
        self.is_suspended = False


class ClosingError(Exception):
    """The adapter gives no records any more."""


class TooManyWaitersError(Exception):
    """The number of callers that wait is `waiters_max`."""


class PullAdapter:
    """A queue of callers; each gets the records that are ready when it is first.

    Takes: deliveries for the caller that has waited longest; one caller at a time, so that none takes from another.
    Gives: one outcome for each, when it is settled, or when its lease ends.
    Holds at most: `concurrency_max` deliveries, `waiters_max` callers.

    Args:
        may_start: returns True if a delivery may start now; asked again before a caller sees the records given to it.

    Attributes:
        settings: the bounds and times.
        peer: addresses and ids of this instance.
    """

    def __init__(
        self, subscription: str, delivery: PullDelivery, peer: Peer, may_start: Callable[[], bool] = lambda: True
    ) -> None:
        self.subscription = subscription
        self.settings = delivery
        self.peer = peer
        self.ids = LeaseIds(subscription, peer.instance)
        self.keys = IdempotencyKeys(idempotency_header(delivery.idempotency_key))
        self.peers: Sequence[Peer] = ()
        self._may_start = may_start
        self._leases = Leases(delivery.lease_total_max_s)
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()
        self._suspended = 0
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._sweep_due_s = inf
        self._ended_some = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._pace = Pace(PACE_S)

    # the port
    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        """See `DeliveryAdapter`; callers may come before."""
        self._loop = asyncio.get_running_loop()
        self._on_demand = on_demand
        self._settle = settle
        if self._waiters:
            on_demand()

    def demand(self) -> Demand:
        """Return the demand of the first caller alone; that of the next follows once this one has its records."""
        free = self.settings.concurrency_max - len(self._leases)
        if not self._waiters or free <= 0:
            return _NOTHING
        return Demand(min(next(iter(self._waiters)).records_max, free), self.settings.bytes_max)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """See `DeliveryAdapter`."""
        assert self._loop is not None
        assert len(batch) <= self.demand().records
        waiter, _ = self._waiters.popitem(last=False)
        lease = self._leases.begin(self.ids.issue(), batch, waiter.lease_s, self._loop.time())
        self._counts["leases"] += 1
        self._pace.count(self._loop.time())
        self._arm(lease.began_s + lease.length_s)
        waiter.given.set_result(lease)
        self._demanded()

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        """See `DeliveryAdapter`; what no caller has seen yet is withdrawn at once."""
        await self._drain(assignment, deadline_s)

    async def close(self, deadline_s: float) -> None:
        """See `DeliveryAdapter`; callers that wait are told at once, and what is held can be settled until then."""
        self._is_closed = True
        for waiter in self._waiters:
            waiter.given.set_exception(ClosingError())
        self._waiters.clear()
        await self._drain(None, deadline_s)
        if self._sweeping is not None:
            self._sweeping.cancel()

    def on_peers(self, peers: Sequence[Peer]) -> None:
        """See `DeliveryAdapter`; they are asked for records when there are none here, and settle what is theirs."""
        own, network = self.peer.instance, self.peer.network
        others = {peer for peer in peers if peer.instance != own}
        self.peers = sorted(peer for peer in others if reachable(peer, peer.http, network))

    def statistics(self) -> AdapterStatistics:
        numbers = {
            "in_flight": len(self._leases),
            "waiters": len(self._waiters),
            "terms": self._leases.terms,
            "peers": len(self.peers),
            **{name: self._counts[name] for name in COUNTED},
        }
        return AdapterStatistics(numbers, self.keys.fallbacks(), self._counts["asked"])

    # callers that wait
    @property
    def leases_lately(self) -> float:
        """The number of leases given of the records here, in about the last `PACE_S`."""
        return self._pace.lately(asyncio.get_running_loop().time())

    @property
    def waiters(self) -> int:
        return len(self._waiters) + self._suspended

    def is_first(self, waiter: Waiter) -> bool:
        return next(iter(self._waiters), None) is waiter

    def ask(self, records_max: int, lease_s: float | None) -> Waiter:
        """Put a caller into the queue.

        Raises:
            ClosingError, TooManyWaitersError: it cannot.
        """
        self._counts["asked"] += 1
        if self._is_closed:
            raise ClosingError
        if self.waiters >= self.settings.waiters_max:
            raise TooManyWaitersError
        given: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        waiter = Waiter(min(records_max, self.settings.records_max), lease_s or self.settings.lease_s, given)
        self._waiters[waiter] = None
        self._demanded()
        return waiter

    def suspend(self, waiter: Waiter) -> None:
        """Take a caller out of the queue while it asks other instances; `resume` or `leave` follows."""
        del self._waiters[waiter]
        waiter.is_suspended = True
        self._suspended += 1

    def resume(self, waiter: Waiter) -> None:
        """Put a caller back to the front, because nobody who came before it waits behind.

        Raises:
            ClosingError: there is no line any more.
        """
        self._return(waiter)
        if self._is_closed:
            raise ClosingError
        self._waiters[waiter] = None
        self._waiters.move_to_end(waiter, last=False)
        self._demanded()

    def leave(self, waiter: Waiter) -> None:
        """Remove a caller that waits no longer; take back the records that it was given and did not take."""
        given = waiter.given
        self._return(waiter)
        if self._waiters.pop(waiter, waiter) is None:
            given.cancel()
        elif given.done() and given.exception() is None and not given.result().is_taken:
            self.give_back(given.result())

    def _return(self, waiter: Waiter) -> None:
        self._suspended -= waiter.is_suspended
        waiter.is_suspended = False

    def hand_out(self, lease: Lease) -> Sequence[Held]:
        """Return the records of a lease that its caller may see now, without those that were taken back or may not start."""
        if not self._may_start():
            self.give_back(lease, "the membership of the group was not confirmed in time")
        lease.answered = True
        return [held for held in lease.held if held.term is not None]

    def give_back(self, lease: Lease, reason: str = "its caller went away before it had the record") -> None:
        """Give a lease back whose caller never had it: no attempt is counted, and another gets the records at once."""
        held = [held for held in lease.held if held.term is not None]
        self._counts["given_back"] += len(held)
        self._end((each, Withdrawn(reason=reason)) for each in held)

    def give_back_all(self, lease_id: str) -> None:
        """Give back the records still held of a lease that another instance fetched for a caller who has gone."""
        if (lease := self._leases.lease(lease_id)) is not None:
            self.give_back(lease)

    # callers that hold records
    def settle(self, lease_id: str, settlements: Sequence[Settlement]) -> list[str]:
        """Settle records; return `settled`, `expired` or `unknown` for each."""
        missing = "expired" if self.ids.is_ours(lease_id) else "unknown"
        results: list[str] = []
        was_full = self.demand().records == 0
        for settlement in settlements:
            held = self._leases.find(lease_id, settlement.delivery_id)
            if held is None:
                results.append(missing if settlement.delivery_id.startswith(f"{lease_id}.") else "unknown")
                continue
            results.append("settled")
            self._leases.end(held)
            self._settle(held.delivery, outcome_of(settlement))
        self._counts["settled"] += results.count("settled")
        self._ended(was_full=was_full)
        return results

    def extend(self, lease_id: str, delivery_ids: Sequence[str], lease_s: float | None) -> list[tuple[str, float]]:
        """Extend leases; return `extended` with the seconds left, `expired` or `unknown` for each."""
        assert self._loop is not None
        now_s = self._loop.time()
        missing = "expired" if self.ids.is_ours(lease_id) else "unknown"
        found = {delivery_id: self._leases.find(lease_id, delivery_id) for delivery_id in delivery_ids}
        held = [each for each in found.values() if each is not None]
        self._leases.extend(held, lease_s or self.settings.lease_s, now_s)
        self._counts["extended"] += len(held)
        if held:
            self._arm(min(each.term.ends_s for each in held if each.term is not None))
        results: list[tuple[str, float]] = []
        for delivery_id in delivery_ids:
            each = found[delivery_id]
            if each is not None and each.term is not None:
                results.append(("extended", each.term.ends_s - now_s))
            else:
                results.append((missing if delivery_id.startswith(f"{lease_id}.") else "unknown", 0.0))
        return results

    # how deliveries end
    def _end(self, ended: Iterable[tuple[Held, Outcome]]) -> None:
        was_full = self.demand().records == 0
        for held, outcome in ended:
            self._leases.end(held)
            self._settle(held.delivery, outcome)
        self._ended(was_full=was_full)

    def _ended(self, *, was_full: bool) -> None:
        self._ended_some.set()
        if was_full:
            self._demanded()

    def _demanded(self) -> None:
        if self._loop is not None and self.demand().records:
            self._on_demand()

    async def _drain(self, assignment: Assignment | None, deadline_s: float) -> None:
        reason = "its partition was revoked, or the daemon stops, before it was sent"
        unseen = [held for held in self._leases.of(assignment) if not held.lease.answered]
        self._end((held, Withdrawn(reason=reason)) for held in unseen)
        if deadline_s > 0:
            try:
                async with asyncio.timeout(deadline_s):
                    while self._leases.of(assignment):
                        self._ended_some.clear()
                        await self._ended_some.wait()
            except TimeoutError:
                pass
        reason = f"taken back {deadline_s} s after its partition was revoked"
        self._end((held, Withdrawn(reason=reason)) for held in self._leases.of(assignment))

    # leases that end by themselves
    def _arm(self, due_s: float) -> None:
        """Set the timer for the end of the next lease."""
        assert self._loop is not None
        if due_s < self._sweep_due_s:
            if self._sweeping is not None:
                self._sweeping.cancel()
            self._sweep_due_s = due_s
            self._sweeping = self._loop.call_later(max(LEASE_S_MIN, due_s - self._loop.time()), self._sweep)

    def _sweep(self) -> None:
        assert self._loop is not None
        self._sweep_due_s = inf
        over = self._leases.due(self._loop.time())
        self._counts["expired"] += len(over)
        self._end([(held, lost(held)) for held in over])
        if len(self._leases):
            self._arm(self._leases.due_s)
