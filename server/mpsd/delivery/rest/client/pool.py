"""The connections to one endpoint, and the items that wait for one: a delivery each, or several that share a request."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic

from mpsd.config import RestDelivery
from mpsd.core.delivery import Assignment
from mpsd.core.outcome import EXCERPT_BYTES_MAX, Outcome, Rejected, Retryable, Undeliverable, Withdrawn
from mpsd.core.target_template import UnfilledError
from mpsd.delivery.rest.client.answer_reader import Answer, AnswerBounds
from mpsd.delivery.rest.client.connection import Connection, Item, Result
from mpsd.delivery.rest.client.connector import ConnectFailed, Connector

KNOWN_ANSWERS_MAX = 256
"""Answers remembered; as many names of servers and dates as a second may bring."""
AGE_SPREAD = 0.25
"""Connections opened together end over this part of their age, so that not all are replaced at once."""
SWEEPS = 20
"""Looks at all connections within the shortest time-out, so that none is exceeded by much."""
SWEEP_S_MIN = 0.005
SWEEP_S_MAX = 0.5
COUNTED = ("opened", "open_failures", "reused_retries", "timeouts", "aborted")
_GOLDEN_RATIO = 0.618033988749895


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests(Generic[Item, Result]):
    """The functions by which a pool makes requests of items and reports their end.

    Attributes:
        head: returns everything before the body.
        body: called right after `head`.
        concerns: returns True if the item holds anything of an assignment.
        judge: returns the meaning of an answer to the request on its connection.
        ended: called once for each item, when nothing of it is in flight any more.
        withdrawn: takes back an item that was not sent yet, for the assignment that is drained (None: for all).
    """

    head: Callable[[Item], bytes]
    body: Callable[[Item], bytes | None]
    concerns: Callable[[Item, Assignment], bool]
    judge: Callable[[Answer, Connection[Item, Result]], Outcome | Result]
    ended: Callable[[Item, Outcome | Result], None]
    withdrawn: Callable[[Item, Assignment | None], None]


@dataclass(slots=True)
class _Drain:
    """A wait until nothing of an assignment (None: of any) is in flight; `left` is counted down."""

    assignment: Assignment | None
    left: int
    done: asyncio.Future[None]


class Pool(Generic[Item, Result]):
    """A set of connections to one endpoint; each item becomes one request on a connection of its own.

    Takes: items; those beyond `concurrency_max` wait.
    Gives: the end of each item, never from within `deliver`.
    Holds at most: `concurrency_max` connections, opening ones included; the items it has taken.

    Args:
        delivery: the bounds and time-outs.
        may_start: asked again for an item that had to wait for its connection: a process that was frozen meanwhile may
            no longer own its records.
        answer_bytes: bytes in an answer's body that name records, beside `response_body_bytes_max`; if there may be
            some, the pool keeps the body whole.
    """

    def __init__(
        self,
        delivery: RestDelivery,
        connector: Connector,
        requests: Requests[Item, Result],
        may_start: Callable[[], bool] = lambda: True,
        answer_bytes: int = 0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = delivery
        self._head_bytes_max = delivery.request_header_bytes_max
        body_bytes_max = delivery.response_body_bytes_max + answer_bytes
        self._bounds = AnswerBounds(
            header_bytes_max=delivery.response_header_bytes_max,
            body_bytes_max=body_bytes_max,
            kept_bytes_max=body_bytes_max if answer_bytes else EXCERPT_BYTES_MAX,
        )
        shortest_s = min(delivery.timeout_s, delivery.connection_age_max_s, delivery.connection_idle_max_s)
        self._sweep_s = min(max(shortest_s / SWEEPS, SWEEP_S_MIN), SWEEP_S_MAX)
        self._connector = connector
        self._head, self._body, self._concerns = requests.head, requests.body, requests.concerns
        self.judge = requests.judge
        self._report = self._ended = requests.ended
        self._withdrawn = requests.withdrawn
        self._may_start = may_start
        self.known: set[bytes] = set()
        self._connections: set[Connection[Item, Result]] = set()
        self._leaving: set[Connection[Item, Result]] = set()
        self._idle: list[Connection[Item, Result]] = []
        self._waiting: deque[Item] = deque()
        self._waiting_again: deque[tuple[Item, float]] = deque()
        self._refused: deque[tuple[Item, Outcome]] = deque()
        self._openings: dict[object, asyncio.Task[None]] = {}
        self._old_openings: set[object] = set()
        self._draining: set[Assignment | None] = set()
        self._drains: list[_Drain] = []
        self._is_closing = False
        self._gone = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._requests = 0
        self._sweeping = self._loop.call_later(self._sweep_s, self._sweep)

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

    async def drain(self, assignment: Assignment | None, deadline_s: float) -> None:
        """See `DeliveryAdapter.revoke`; None for all assignments. Cancelled, it leaves the rest in flight."""
        with self._sending_nothing_again(assignment):
            for item in self._withdraw(assignment):
                self._withdrawn(item, assignment)
            try:
                async with asyncio.timeout(deadline_s):
                    await self._drained(assignment)
            except TimeoutError:
                self._abort(assignment, Withdrawn(reason=f"aborted {deadline_s} s after its partition was revoked"))
                await self._drained(assignment)

    def renew(self, head: Callable[[Item], bytes], *, replace_connections: bool) -> None:
        """Write requests by other rules from the next one on.

        Args:
            replace_connections: close idle connections now, the others after the answer that they wait for.
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
        """Drop all connections and wait until the last one is gone; call it only once nothing is in flight."""
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
            "waiting": len(self._waiting) + len(self._waiting_again),
            "in_flight": len(self._in_flight(None)),
            "requests": self._requests,
            "known_answers": len(self.known),
            **{name: self._counts[name] for name in COUNTED},
        }

    def answered(self, connection: Connection[Item, Result], item: Item, outcome: Outcome | Result) -> None:
        """Report an answer and give the connection its next item; see `ConnectionOwner`."""
        if connection.is_closing:
            self._give_up(connection)
        elif not connection.keep:
            connection.retire()
            self._give_up(connection)
        else:
            connection.fresh = False
            if self._waiting:
                self._employ(connection)
            else:
                self._idle.append(connection)
        self._ended(item, outcome)

    def opened(self, connection: Connection[Item, Result]) -> None:
        """Take a new connection into use; see `ConnectionOwner`."""
        if self._is_closing or self._openings.pop(connection.opening, None) is None:
            self._leaving.add(connection)
            connection.abort(None)
            return
        self._counts["opened"] += 1
        connection.keep = connection.opening not in self._old_openings
        self._connections.add(connection)
        connection.busy_s = self._loop.time()
        while self._waiting_again:
            if self._send_late(connection, *self._waiting_again.popleft()):
                return
        self._employ(connection)

    def lost(self, connection: Connection[Item, Result], item: Item | None) -> None:
        """Forget a connection that is gone; see `ConnectionOwner`.

        The peer may have closed a reused connection at the moment of its reuse. The pool sends such a request once more,
        on a fresh connection, within the same time-out.
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
        """Remember the bytes of an answer; see `ConnectionOwner`."""
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
            self._waiting_again.append((item, connection.started_s))

    def _withdraw(self, assignment: Assignment | None) -> Sequence[Item]:
        """Remove and return the items that were not sent, or whose connection is gone; None for all assignments."""
        self._settle_refused()
        waiting = [*self._waiting, *(item for item, _ in self._waiting_again)]
        withdrawn = {item: None for item in waiting if self._is_of(item, assignment)}
        self._waiting = deque(item for item in self._waiting if item not in withdrawn)
        self._waiting_again = deque(entry for entry in self._waiting_again if entry[0] not in withdrawn)
        return list(withdrawn)

    def _in_flight(self, assignment: Assignment | None) -> Sequence[Connection[Item, Result]]:
        """Return the connections at work on the assignment; None for all."""
        return [
            connection
            for connection in self._connections
            if connection.item is not None and self._is_of(connection.item, assignment)
        ]

    def _abort(self, assignment: Assignment | None, outcome: Outcome) -> None:
        """End requests in flight with this outcome as soon as their connections are gone; None for all assignments."""
        for connection in self._in_flight(assignment):
            self._counts["aborted"] += 1
            connection.abort(outcome)

    @contextmanager
    def _sending_nothing_again(self, assignment: Assignment | None) -> Iterator[None]:
        """Send no request of the assignment a second time within the context; None for all assignments."""
        self._draining.add(assignment)
        try:
            yield
        finally:
            self._draining.discard(assignment)

    async def _drained(self, assignment: Assignment | None) -> None:
        """Wait until nothing of the assignment is in flight; None for all assignments."""
        while left := len(self._in_flight(assignment)):
            drain = _Drain(assignment, left, self._loop.create_future())
            self._drains.append(drain)
            self._ended = self._count_down
            try:
                await drain.done
            finally:
                self._drains.remove(drain)
                if not self._drains:
                    self._ended = self._report

    def _count_down(self, item: Item, outcome: Outcome | Result) -> None:
        """Report the end of an item while something is drained."""
        self._report(item, outcome)
        for drain in self._drains:
            if self._is_of(item, drain.assignment):
                drain.left -= 1
                if drain.left == 0 and not drain.done.done():
                    drain.done.set_result(None)

    def _is_of(self, item: Item, assignment: Assignment | None) -> bool:
        """Return True if the item holds anything of the assignment; None stands for all assignments."""
        return assignment is None or self._concerns(item, assignment)

    def _send(self, connection: Connection[Item, Result], item: Item, started_s: float) -> bool:
        """Send an item; return False if no request can be made of it, so that the connection is still free."""
        try:
            head = self._head(item)
        except UnfilledError as error:
            self._refuse(item, Rejected(code="url_unfilled", reason=f"delivery.url cannot be filled: {error}"))
            return False
        if len(head) <= self._head_bytes_max:
            self._requests += 1
            connection.send(item, head, self._body(item), started_s)
            return True
        reason = f"needs {len(head)} bytes of headers, of which {self._head_bytes_max} are allowed"
        self._refuse(item, Undeliverable(code="headers_too_large", reason=reason))
        return False

    def _refuse(self, item: Item, outcome: Outcome) -> None:
        if not self._refused:
            self._loop.call_soon(self._settle_refused)
        self._refused.append((item, outcome))

    def _send_late(self, connection: Connection[Item, Result], item: Item, started_s: float) -> bool:
        if self._may_start():
            return self._send(connection, item, started_s)
        self._ended(item, Withdrawn(reason="the lease ended before a connection was free"))
        return False

    def _settle_refused(self) -> None:
        while self._refused:
            self._ended(*self._refused.popleft())

    def _employ(self, connection: Connection[Item, Result]) -> None:
        """Use a free connection for an item that waits, else keep it idle."""
        while self._waiting:
            if self._send_late(connection, self._waiting.popleft(), self._loop.time()):
                return
        connection.fresh = False
        self._idle.append(connection)

    def _give_up(self, connection: Connection[Item, Result]) -> None:
        """Give up a closing connection, so that another can take its place."""
        self._connections.discard(connection)
        self._leaving.add(connection)
        if self._waiting or self._waiting_again:
            self._open_more()

    def _open_more(self) -> None:
        """Open a connection for each item that waits, within the bound."""
        if self._is_closing:
            return
        wanted = len(self._waiting) + len(self._waiting_again) - len(self._openings)
        room = self._settings.concurrency_max - len(self._connections) - len(self._openings)
        for _ in range(min(wanted, room)):
            opening = object()
            self._openings[opening] = self._loop.create_task(self._open(opening), name="rest-open")

    async def _open(self, opening: object) -> None:
        try:
            await self._connector.connect(partial(self._make, opening), self._settings.connect_timeout_s)
        except ConnectFailed as failed:
            if self._openings.pop(opening, None) is None:
                return  # the connection was open for a moment, and `lost` reports it
            self._counts["open_failures"] += 1
            if self._waiting_again:
                self._ended(self._waiting_again.popleft()[0], failed.outcome)
            elif self._waiting:
                self._ended(self._waiting.popleft(), failed.outcome)
            self._open_more()

    def _make(self, opening: object) -> Connection[Item, Result]:
        spread = AGE_SPREAD * (self._counts["opened"] * _GOLDEN_RATIO % 1)
        expires_s = self._loop.time() + self._settings.connection_age_max_s * (1 - spread)
        return Connection(self, opening, self._bounds, expires_s)

    def _sweep(self) -> None:
        """End requests that take too long, and connections that are too old or idle too long; the only timer."""
        self._sweeping = self._loop.call_later(self._sweep_s, self._sweep)
        now_s = self._loop.time()
        settings = self._settings
        for connection in [each for each in self._leaving if now_s - each.started_s >= settings.timeout_s]:
            connection.drop()
        for connection in list(self._connections):
            if now_s >= connection.expires_s:
                connection.keep = False
            if connection.item is not None:
                connection.busy_s = now_s
                if now_s - connection.started_s >= settings.timeout_s and not connection.is_closing:
                    self._counts["timeouts"] += 1
                    reason = f"timed out after {settings.timeout_s} s"
                    connection.abort(Retryable(code="timeout", reason=reason, lost=True))
            elif (
                not connection.keep
                or now_s - max(connection.busy_s, connection.started_s) >= settings.connection_idle_max_s
            ):
                self._close_idle(connection)

    def _close_idle(self, connection: Connection[Item, Result]) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            connection.retire()
            self._give_up(connection)
