"""The connections to one endpoint, and the deliveries that wait for one."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Outcome, Retryable, Undeliverable, Withdrawn
from mpsd.delivery.rest.answer import Answer
from mpsd.delivery.rest.connection import Connection
from mpsd.delivery.rest.connector import ConnectFailed, Connector
from mpsd.delivery.rest.pool_limits import PoolLimits

KNOWN_ANSWERS_MAX = 256
"""Answers remembered; as many names of servers and dates as a second may bring."""
AGE_SPREAD = 0.25
"""Connections opened together end over this part of their age, so that not all are opened anew at once."""
COUNTED = ("opened", "open_failures", "reused_retries", "timeouts", "aborted")
_GOLDEN_RATIO = 0.618033988749895


class Pool:
    """Makes each delivery once on a connection of its own, and opens and closes connections as need be.

    Takes: deliveries, at most `connections_max` that have not ended.
    Gives: their outcomes, never from within `deliver`.
    Holds at most: `connections_max` connections, opening ones included; the deliveries it has taken.

    Args:
        head: the request of a delivery up to its body.
        judge: what an answer means.
        ended: told once of every delivery, when nothing of it is in flight any more.
        may_start: asked again for a delivery that had to wait for its connection: a process that was frozen meanwhile may
            no longer own the record.
    """

    def __init__(
        self,
        connector: Connector,
        limits: PoolLimits,
        head: Callable[[Delivery], bytes],
        judge: Callable[[Answer], Outcome],
        ended: Callable[[Delivery, Outcome], None],
        may_start: Callable[[], bool] = lambda: True,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connector = connector
        self._limits = limits
        self._head = head
        self.judge = judge
        self._ended = ended
        self._may_start = may_start
        self.known: set[bytes] = set()
        self._connections: set[Connection] = set()
        self._leaving: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiting: deque[Delivery] = deque()
        self._waiting_anew: deque[tuple[Delivery, float]] = deque()
        self._refused: deque[tuple[Delivery, Outcome]] = deque()
        self._openings: dict[object, asyncio.Task[None]] = {}
        self._draining: set[Assignment | None] = set()
        self._is_closing = False
        self._gone = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._requests = 0
        self._sweeping = self._loop.call_later(limits.sweep_s, self._sweep)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        now_s = self._loop.time()
        idle = self._idle
        for delivery in batch:
            if not idle:
                self._waiting.append(delivery)
            elif not self._send(connection := idle.pop(), delivery, now_s):
                idle.append(connection)
        if self._waiting:
            self._open_more()

    def withdraw(self, assignment: Assignment | None) -> Sequence[Delivery]:
        """Those that were not sent, or whose connection is gone; None for those of all assignments."""
        self._settle_refused()
        waiting = [*self._waiting, *(delivery for delivery, _ in self._waiting_anew)]
        withdrawn = {delivery: None for delivery in waiting if assignment in {None, delivery.assignment}}
        self._waiting = deque(delivery for delivery in self._waiting if delivery not in withdrawn)
        self._waiting_anew = deque(entry for entry in self._waiting_anew if entry[0] not in withdrawn)
        return list(withdrawn)

    def in_flight(self, assignment: Assignment | None) -> Sequence[Connection]:
        """Connections at work on the assignment; None for all."""
        return [
            connection
            for connection in self._connections
            if connection.delivery is not None and assignment in {None, connection.delivery.assignment}
        ]

    def abort(self, assignment: Assignment | None, outcome: Outcome) -> None:
        """What is in flight comes to this outcome as soon as its connections are gone; None for all assignments."""
        for connection in self.in_flight(assignment):
            self._counts["aborted"] += 1
            connection.abort(outcome)

    @contextmanager
    def draining(self, assignment: Assignment | None) -> Iterator[None]:
        """Within, nothing of it is sent once more; None for all assignments."""
        self._draining.add(assignment)
        try:
            yield
        finally:
            self._draining.discard(assignment)

    async def close(self) -> None:
        """Drop all connections; only once nothing is in flight. Returns when the last one is gone."""
        self._is_closing = True
        self._sweeping.cancel()
        openings = list(self._openings.values())
        for opening in openings:
            opening.cancel()
        await asyncio.gather(*openings, return_exceptions=True)
        for connection in [*self._connections, *self._leaving]:
            connection.drop()
        while self._connections or self._leaving:
            self._gone.clear()
            await self._gone.wait()

    def statistics(self) -> dict[str, int]:
        return {
            "open": len(self._connections),
            "idle": len(self._idle),
            "connecting": len(self._openings),
            "waiting": len(self._waiting) + len(self._waiting_anew),
            "in_flight": len(self.in_flight(None)),
            "requests": self._requests,
            "known_answers": len(self.known),
            **{name: self._counts[name] for name in COUNTED},
        }

    def answered(self, connection: Connection, delivery: Delivery, outcome: Outcome) -> None:
        """A connection has read its answer; see `ConnectionOwner`."""
        if connection.is_closing:
            self._let_go(connection)
        elif not connection.keep:
            connection.retire()
            self._let_go(connection)
        else:
            connection.fresh = False
            if self._waiting:
                self._employ(connection)
            else:
                self._idle.append(connection)
        self._ended(delivery, outcome)

    def opened(self, connection: Connection) -> None:
        """A connection stands; see `ConnectionOwner`."""
        if self._is_closing or self._openings.pop(connection.opening, None) is None:
            self._leaving.add(connection)
            connection.abort(None)
            return
        self._counts["opened"] += 1
        self._connections.add(connection)
        connection.busy_s = self._loop.time()
        while self._waiting_anew:
            if self._send_late(connection, *self._waiting_anew.popleft()):
                return
        self._employ(connection)

    def lost(self, connection: Connection, delivery: Delivery | None) -> None:
        """A connection is gone; see `ConnectionOwner`.

        One that was used before may have been closed by the peer at the moment it was used again, so what was sent on it
        goes out once more, on a fresh connection, within the same time.
        """
        self._connections.discard(connection)
        self._leaving.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._gone.set()
        if delivery is not None:
            self._judge_lost(connection, delivery)
        self._open_more()

    def remember(self, answer: bytes) -> None:
        """See `ConnectionOwner`."""
        if len(self.known) >= KNOWN_ANSWERS_MAX:
            self.known.clear()
        self.known.add(answer)

    def _judge_lost(self, connection: Connection, delivery: Delivery) -> None:
        if connection.fate is not None:
            self._ended(delivery, connection.fate)
        elif connection.fresh or connection.has_answer_begun:
            begun = "in the middle of the answer" if connection.has_answer_begun else "before any answer"
            self._ended(delivery, Retryable(code="connection_lost", reason=f"connection lost {begun}", lost=True))
        elif not self._draining.isdisjoint((None, delivery.assignment)):
            self._ended(delivery, Withdrawn(reason="connection lost while its partition was leaving"))
        else:
            self._counts["reused_retries"] += 1
            self._waiting_anew.append((delivery, connection.started_s))

    def _send(self, connection: Connection, delivery: Delivery, started_s: float) -> bool:
        """False where HTTP cannot carry the record; the connection is as free as before."""
        head = self._head(delivery)
        if len(head) <= self._limits.head_bytes_max:
            self._requests += 1
            connection.send(delivery, head, started_s)
            return True
        if not self._refused:
            self._loop.call_soon(self._settle_refused)
        reason = f"needs {len(head)} bytes of headers, of which {self._limits.head_bytes_max} are allowed"
        self._refused.append((delivery, Undeliverable(code="headers_too_large", reason=reason)))
        return False

    def _send_late(self, connection: Connection, delivery: Delivery, started_s: float) -> bool:
        if self._may_start():
            return self._send(connection, delivery, started_s)
        self._ended(delivery, Withdrawn(reason="the lease was over before a connection was there"))
        return False

    def _settle_refused(self) -> None:
        while self._refused:
            self._ended(*self._refused.popleft())

    def _employ(self, connection: Connection) -> None:
        """It is free: for a delivery that waits, else for later."""
        while self._waiting:
            if self._send_late(connection, self._waiting.popleft(), self._loop.time()):
                return
        connection.fresh = False
        self._idle.append(connection)

    def _let_go(self, connection: Connection) -> None:
        """It is closing: another may take its place."""
        self._connections.discard(connection)
        self._leaving.add(connection)
        if self._waiting or self._waiting_anew:
            self._open_more()

    def _open_more(self) -> None:
        """One opening for each delivery that waits, within the bound."""
        if self._is_closing:
            return
        wanted = len(self._waiting) + len(self._waiting_anew) - len(self._openings)
        room = self._limits.connections_max - len(self._connections) - len(self._openings)
        for _ in range(min(wanted, room)):
            opening = object()
            self._openings[opening] = self._loop.create_task(self._open(opening), name="rest-open")

    async def _open(self, opening: object) -> None:
        try:
            await self._connector.connect(partial(self._make, opening), self._limits.connect_timeout_s)
        except ConnectFailed as failed:
            if self._openings.pop(opening, None) is None:
                return  # it stood for a moment, which is another story
            self._counts["open_failures"] += 1
            if self._waiting_anew:
                self._ended(self._waiting_anew.popleft()[0], failed.outcome)
            elif self._waiting:
                self._ended(self._waiting.popleft(), failed.outcome)
            self._open_more()

    def _make(self, opening: object) -> Connection:
        spread = AGE_SPREAD * (self._counts["opened"] * _GOLDEN_RATIO % 1)
        expires_s = self._loop.time() + self._limits.age_max_s * (1 - spread)
        return Connection(self, opening, self._limits.bounds, expires_s)

    def _sweep(self) -> None:
        """The one timer: what takes too long, is too old, or has been idle too long."""
        self._sweeping = self._loop.call_later(self._limits.sweep_s, self._sweep)
        now_s = self._loop.time()
        limits = self._limits
        for connection in [each for each in self._leaving if now_s - each.started_s >= limits.timeout_s]:
            connection.drop()
        for connection in list(self._connections):
            if now_s >= connection.expires_s:
                connection.keep = False
            if connection.delivery is not None:
                connection.busy_s = now_s
                if now_s - connection.started_s >= limits.timeout_s and not connection.is_closing:
                    self._counts["timeouts"] += 1
                    reason = f"timed out after {limits.timeout_s} s"
                    connection.abort(Retryable(code="timeout", reason=reason, lost=True))
            elif not connection.keep or now_s - max(connection.busy_s, connection.started_s) >= limits.idle_max_s:
                self._close_idle(connection)

    def _close_idle(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            connection.retire()
            self._let_go(connection)
