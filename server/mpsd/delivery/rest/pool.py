"""The connections to one endpoint, and the deliveries that wait for one."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Outcome, Retryable, Undeliverable, Withdrawn
from mpsd.delivery.rest.answer import Answer
from mpsd.delivery.rest.answer_reader import AnswerBounds
from mpsd.delivery.rest.connection import Connection
from mpsd.delivery.rest.connector import ConnectFailed, Connector

KNOWN_ANSWERS_MAX = 256
"""Answers remembered; as many names of servers and dates as a second may bring."""
AGE_SPREAD = 0.25
"""Connections opened together end over this part of their age, so that not all are opened anew at once."""
COUNTED = ("opened", "open_failures", "reused_retries", "timeouts")
_GOLDEN_RATIO = 0.618033988749895


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Bounds of a pool; all times in seconds."""

    connections_max: int
    head_bytes_max: int
    bounds: AnswerBounds
    timeout_s: float
    connect_timeout_s: float
    age_max_s: float
    idle_max_s: float


class Pool:
    """Makes each delivery once on a connection of its own, and opens and closes connections as need be.

    Takes: deliveries, at most `connections_max` that have not ended.
    Gives: their outcomes, never from within `deliver`.
    Holds at most: `connections_max` connections, opening ones included; the deliveries it has taken.

    Args:
        head: the request of a delivery up to its body.
        judge: what an answer means.
        ended: told once of every delivery, when nothing of it is in flight any more.
    """

    def __init__(
        self,
        connector: Connector,
        limits: PoolLimits,
        head: Callable[[Delivery], bytes],
        judge: Callable[[Answer], Outcome],
        ended: Callable[[Delivery, Outcome], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connector = connector
        self._limits = limits
        self._head = head
        self.judge = judge
        self._ended = ended
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
        self._sweep_s = sweep_interval_s(limits)
        self._sweeping = self._loop.call_later(self._sweep_s, self._sweep)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        now_s = self._loop.time()
        idle = self._idle
        for delivery in batch:
            if idle:
                self._send(idle.pop(), delivery, now_s)
            else:
                self._waiting.append(delivery)
        if self._waiting:
            self._open_more()

    def withdraw(self, assignment: Assignment | None) -> Sequence[Delivery]:
        """Those that were not sent, or whose connection is gone; None for those of all assignments."""
        self._settle_refused()
        waiting = [*self._waiting, *(delivery for delivery, _ in self._waiting_anew)]
        withdrawn = [delivery for delivery in waiting if assignment in {None, delivery.assignment}]
        self._waiting = deque(delivery for delivery in self._waiting if delivery not in withdrawn)
        self._waiting_anew = deque(entry for entry in self._waiting_anew if entry[0] not in withdrawn)
        return withdrawn

    def in_flight(self, assignment: Assignment | None) -> Sequence[Connection]:
        """Connections at work on the assignment; None for all."""
        return [
            connection
            for connection in self._connections
            if connection.delivery is not None and assignment in {None, connection.delivery.assignment}
        ]

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
        elif self._waiting:
            self._park(connection)
        else:
            connection.fresh = False
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
        if self._waiting_anew:
            self._send(connection, *self._waiting_anew.popleft())
        elif self._waiting:
            self._send(connection, self._waiting.popleft(), connection.busy_s)
        else:
            self._park(connection)

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

    def _send(self, connection: Connection, delivery: Delivery, started_s: float) -> None:
        head = self._head(delivery)
        if len(head) <= self._limits.head_bytes_max:
            self._requests += 1
            connection.send(delivery, head, started_s)
            return
        if not self._refused:
            self._loop.call_soon(self._settle_refused)
        reason = f"needs {len(head)} bytes of headers, of which {self._limits.head_bytes_max} are allowed"
        self._refused.append((delivery, Undeliverable(code="headers_too_large", reason=reason)))
        self._park(connection)

    def _settle_refused(self) -> None:
        while self._refused:
            self._ended(*self._refused.popleft())

    def _park(self, connection: Connection) -> None:
        """It is free: for a delivery that waits, else for later."""
        connection.fresh = False
        if self._waiting:
            self._send(connection, self._waiting.popleft(), self._loop.time())
        else:
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
        if wanted > room and self._idle and self._waiting_anew:
            self._close_idle(self._idle[0])
            room += 1
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

    def _make(self, opening: object) -> Connection:
        spread = AGE_SPREAD * (self._counts["opened"] * _GOLDEN_RATIO % 1)
        expires_s = self._loop.time() + self._limits.age_max_s * (1 - spread)
        return Connection(self, opening, self._limits.bounds, expires_s)

    def _sweep(self) -> None:
        """The one timer: what takes too long, is too old, or has been idle too long."""
        self._sweeping = self._loop.call_later(self._sweep_s, self._sweep)
        now_s = self._loop.time()
        limits = self._limits
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


def sweep_interval_s(limits: PoolLimits) -> float:
    """A twentieth of the shortest time to be watched, so that none is exceeded by much; never a busy loop."""
    return min(max(min(limits.timeout_s, limits.age_max_s, limits.idle_max_s) / 20, 0.005), 0.5)
