"""The connections to one endpoint, and what waits for one: an item is a delivery, or several that share a request."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Generic

from mpsd.core.delivery import Assignment
from mpsd.core.outcome import Outcome, Rejected, Retryable, Undeliverable, Withdrawn
from mpsd.core.target_template import UnfilledError
from mpsd.delivery.rest.answer import Answer
from mpsd.delivery.rest.connection import Connection, Item, Result
from mpsd.delivery.rest.connector import ConnectFailed, Connector
from mpsd.delivery.rest.pool_limits import PoolLimits, Requests

KNOWN_ANSWERS_MAX = 256
"""Answers remembered; as many names of servers and dates as a second may bring."""
AGE_SPREAD = 0.25
"""Connections opened together end over this part of their age, so that not all are opened anew at once."""
COUNTED = ("opened", "open_failures", "reused_retries", "timeouts", "aborted")
_GOLDEN_RATIO = 0.618033988749895


class Pool(Generic[Item, Result]):
    """Makes each item one request on a connection of its own, and opens and closes connections as need be.

    Takes: items; those beyond `connections_max` wait.
    Gives: what they came to, never from within `deliver`.
    Holds at most: `connections_max` connections, opening ones included; the items it has taken.

    Args:
        requests: how an item becomes a request.
        judge: what an answer means to the request on its connection.
        ended: told once of every item, when nothing of it is in flight any more.
        may_start: asked again for an item that had to wait for its connection: a process that was frozen meanwhile may
            no longer own its records.
    """

    def __init__(
        self,
        connector: Connector,
        limits: PoolLimits,
        requests: Requests[Item],
        judge: Callable[[Answer, Connection[Item, Result]], Outcome | Result],
        ended: Callable[[Item, Outcome | Result], None],
        may_start: Callable[[], bool] = lambda: True,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connector = connector
        self._limits = limits
        self._head, self._body, self._concerns = requests.head, requests.body, requests.concerns
        self.judge = judge
        self._ended = ended
        self._may_start = may_start
        self.known: set[bytes] = set()
        self._connections: set[Connection[Item, Result]] = set()
        self._leaving: set[Connection[Item, Result]] = set()
        self._idle: list[Connection[Item, Result]] = []
        self._waiting: deque[Item] = deque()
        self._waiting_anew: deque[tuple[Item, float]] = deque()
        self._refused: deque[tuple[Item, Outcome]] = deque()
        self._openings: dict[object, asyncio.Task[None]] = {}
        self._old_openings: set[object] = set()
        self._draining: set[Assignment | None] = set()
        self._is_closing = False
        self._gone = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._requests = 0
        self._sweeping = self._loop.call_later(limits.sweep_s, self._sweep)

    def deliver(self, batch: Sequence[Item]) -> None:
        now_s = self._loop.time()
        idle = self._idle
        for item in batch:
            if not idle:
                self._waiting.append(item)
            elif not self._send(connection := idle.pop(), item, now_s):
                idle.append(connection)
        if self._waiting:
            self._open_more()

    def withdraw(self, assignment: Assignment | None) -> Sequence[Item]:
        """Those that were not sent, or whose connection is gone; None for those of all assignments."""
        self._settle_refused()
        waiting = [*self._waiting, *(item for item, _ in self._waiting_anew)]
        withdrawn = {item: None for item in waiting if self._is_of(item, assignment)}
        self._waiting = deque(item for item in self._waiting if item not in withdrawn)
        self._waiting_anew = deque(entry for entry in self._waiting_anew if entry[0] not in withdrawn)
        return list(withdrawn)

    def in_flight(self, assignment: Assignment | None) -> Sequence[Connection[Item, Result]]:
        """Connections at work on the assignment; None for all."""
        return [
            connection
            for connection in self._connections
            if connection.item is not None and self._is_of(connection.item, assignment)
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

    def renew(self, head: Callable[[Item], bytes], *, replace_connections: bool) -> None:
        """Write requests differently from the next one on.

        Args:
            replace_connections: whether those that are open, or being opened, end with the answer they wait for, and idle
                ones now.
        """
        self._head = head
        for connection in self._connections:
            connection.outdated = connection.item
        if replace_connections:
            self._old_openings = set(self._openings)
            for connection in list(self._connections):
                connection.keep = False
                self._close_idle(connection)

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

    def answered(self, connection: Connection[Item, Result], item: Item, outcome: Outcome | Result) -> None:
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
        self._ended(item, outcome)

    def opened(self, connection: Connection[Item, Result]) -> None:
        """A connection stands; see `ConnectionOwner`."""
        if self._is_closing or self._openings.pop(connection.opening, None) is None:
            self._leaving.add(connection)
            connection.abort(None)
            return
        self._counts["opened"] += 1
        connection.keep = connection.opening not in self._old_openings
        self._connections.add(connection)
        connection.busy_s = self._loop.time()
        while self._waiting_anew:
            if self._send_late(connection, *self._waiting_anew.popleft()):
                return
        self._employ(connection)

    def lost(self, connection: Connection[Item, Result], item: Item | None) -> None:
        """A connection is gone; see `ConnectionOwner`.

        One that was used before may have been closed by the peer at the moment it was used again, so what was sent on it
        goes out once more, on a fresh connection, within the same time.
        """
        self._connections.discard(connection)
        self._leaving.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._gone.set()
        if item is not None:
            self._judge_lost(connection, item)
        self._open_more()

    def remember(self, answer: bytes) -> None:
        """See `ConnectionOwner`."""
        if len(self.known) >= KNOWN_ANSWERS_MAX:
            self.known.clear()
        self.known.add(answer)

    def _judge_lost(self, connection: Connection[Item, Result], item: Item) -> None:
        if connection.fate is not None:
            self._ended(item, connection.fate)
        elif connection.fresh or connection.has_answer_begun:
            begun = "in the middle of the answer" if connection.has_answer_begun else "before any answer"
            self._ended(item, Retryable(code="connection_lost", reason=f"connection lost {begun}", lost=True))
        elif any(self._is_of(item, assignment) for assignment in self._draining):
            self._ended(item, Withdrawn(reason="connection lost while its partition was leaving"))
        else:
            self._counts["reused_retries"] += 1
            self._waiting_anew.append((item, connection.started_s))

    def _is_of(self, item: Item, assignment: Assignment | None) -> bool:
        """None stands for all assignments."""
        return assignment is None or self._concerns(item, assignment)

    def _send(self, connection: Connection[Item, Result], item: Item, started_s: float) -> bool:
        """Return False where no request can be made of the item; the connection is as free as before."""
        try:
            head = self._head(item)
        except UnfilledError as error:
            self._refuse(item, Rejected(code="url_unfilled", reason=f"delivery.url cannot be filled: {error}"))
            return False
        if len(head) <= self._limits.head_bytes_max:
            self._requests += 1
            connection.send(item, head, self._body(item), started_s)
            return True
        reason = f"needs {len(head)} bytes of headers, of which {self._limits.head_bytes_max} are allowed"
        self._refuse(item, Undeliverable(code="headers_too_large", reason=reason))
        return False

    def _refuse(self, item: Item, outcome: Outcome) -> None:
        if not self._refused:
            self._loop.call_soon(self._settle_refused)
        self._refused.append((item, outcome))

    def _send_late(self, connection: Connection[Item, Result], item: Item, started_s: float) -> bool:
        if self._may_start():
            return self._send(connection, item, started_s)
        self._ended(item, Withdrawn(reason="the lease was over before a connection was there"))
        return False

    def _settle_refused(self) -> None:
        while self._refused:
            self._ended(*self._refused.popleft())

    def _employ(self, connection: Connection[Item, Result]) -> None:
        """It is free: for an item that waits, else for later."""
        while self._waiting:
            if self._send_late(connection, self._waiting.popleft(), self._loop.time()):
                return
        connection.fresh = False
        self._idle.append(connection)

    def _let_go(self, connection: Connection[Item, Result]) -> None:
        """It is closing: another may take its place."""
        self._connections.discard(connection)
        self._leaving.add(connection)
        if self._waiting or self._waiting_anew:
            self._open_more()

    def _open_more(self) -> None:
        """One opening for each item that waits, within the bound."""
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

    def _make(self, opening: object) -> Connection[Item, Result]:
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
            if connection.item is not None:
                connection.busy_s = now_s
                if now_s - connection.started_s >= limits.timeout_s and not connection.is_closing:
                    self._counts["timeouts"] += 1
                    reason = f"timed out after {limits.timeout_s} s"
                    connection.abort(Retryable(code="timeout", reason=reason, lost=True))
            elif not connection.keep or now_s - max(connection.busy_s, connection.started_s) >= limits.idle_max_s:
                self._close_idle(connection)

    def _close_idle(self, connection: Connection[Item, Result]) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            connection.retire()
            self._let_go(connection)
