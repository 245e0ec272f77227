"""Grouping of deliveries into requests, and the search for the one that spoils a request.

What was handed over together is cut into requests in its order, each as full as it may be. A request that failed as a
whole is not made again as it was: its records go back, and its halves are remembered. When they come again, those of one
half share a request with nobody else, and so on until the culprit is alone. So nothing is held back here, no innocent is
charged, and whatever holds a record (a pause, a lease that is over, a partition that leaves) holds it here too.

    failed: a b c d        again: a b | c d        failed: c d        again: c | d        d is the culprit

A record that failed with nobody else to blame goes alone from then on, as it would spoil the requests of others; one that
the application named in its answer does not. Who answers a request with "less, please" would get more of them if its
records came one by one, so they come together again; only if that goes on they are tried alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

from typing_extensions import override

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Unavailable, code_of
from mpsd.core.record import RECORD_OVERHEAD_BYTES

NAMED = frozenset({"verdict_retry", "verdict_dead_letter"})
"""Codes of the outcomes of records that failed while others of their request may have succeeded."""

THROTTLED_TOGETHER_MAX = 3
"""Answers 429 or 503 in a row that are believed of the whole request; then it may be a record that makes them."""


class Grouped(NamedTuple):
    """The grouping of deliveries that were handed over.

    Attributes:
        left: those that can be in no request now, because one before them in their lane is in another.
    """

    requests: list[list[Delivery]]
    left: list[Delivery]


class Batches:
    """Cuts deliveries into requests.

    Takes: deliveries; those of a run one behind the other.
    Gives: requests of at most `records_max` and `bytes_max`; a record that is larger goes alone.
    Holds at most: `suspects_max` records of requests that failed; the oldest are forgotten first, which costs requests but
        harms nothing.
    """

    __slots__ = ("_bytes_max", "_cells", "_cut", "_records_max", "_suspects_max")

    def __init__(self, records_max: int, bytes_max: int, suspects_max: int) -> None:
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._suspects_max = suspects_max
        self._cells: dict[Delivery, int] = {}
        self._cut = 0

    def group(self, batch: Sequence[Delivery]) -> Grouped:
        """Return requests for all deliveries that can be sent now."""
        records_max, cells = self._records_max, self._cells
        requests: list[list[Delivery]] = []
        left: list[Delivery] = []
        of_cells: dict[int | None, _Filling] = {}
        filling, cell, is_run_whole = _Filling(0), None, False
        for delivery in batch:
            size = delivery.size_bytes - RECORD_OVERHEAD_BYTES
            if delivery.is_behind:
                same = is_run_whole and (not cells or cells.get(delivery) == cell) and not goes_alone(delivery)
                is_run_whole = same and size <= filling.room and len(filling.deliveries) < records_max
                if not is_run_whole:
                    left.append(delivery)
                    continue
            elif delivery.failures is not None and goes_alone(delivery):
                requests.append([delivery])
                is_run_whole = False
                continue
            else:
                cell = cells.get(delivery) if cells else None
                is_run_whole = True
                filling = of_cells.get(cell) or filling
                if cell not in of_cells or size > filling.room or len(filling.deliveries) >= records_max:
                    filling = of_cells[cell] = _Filling(self._bytes_max)
                    requests.append(filling.deliveries)
            filling.deliveries.append(delivery)
            filling.room -= size
        return Grouped(requests, left)

    def cut(self, request: Sequence[Delivery]) -> None:
        """Cut a request that failed as a whole, so that its halves are tried apart."""
        middle = len(request) // 2
        for half in (request[:middle], request[middle:]):
            self._cut += 1
            for delivery in half:
                self._cells.pop(delivery, None)
                self._cells[delivery] = self._cut
        while len(self._cells) > self._suspects_max:
            del self._cells[next(iter(self._cells))]

    def settled(self, request: Sequence[Delivery]) -> None:
        """Forget deliveries whose outcomes are known."""
        if self._cells:
            for delivery in request:
                self._cells.pop(delivery, None)

    def forget(self, assignment: Assignment) -> None:
        """Forget a revoked partition."""
        for delivery in [delivery for delivery in self._cells if delivery.assignment is assignment]:
            del self._cells[delivery]

    def __len__(self) -> int:
        """Return the number of records of failed requests."""
        return len(self._cells)

    @override
    def __repr__(self) -> str:
        return f"<Batches records_max={self._records_max} suspects={len(self._cells)}>"


class _Filling:
    """A request that may take more, and how many bytes of them."""

    __slots__ = ("deliveries", "room")

    def __init__(self, room: int) -> None:
        self.deliveries: list[Delivery] = []
        self.room = room


def goes_alone(delivery: Delivery) -> bool:
    """Return True if the delivery failed before, but was not named by an answer, and the endpoint did not ask for less."""
    failures = delivery.failures
    if failures is None or failures.last is None:
        return False
    if isinstance(failures.last, Unavailable) and failures.last.throttled:
        return failures.attempts > 0 or failures.deferrals > THROTTLED_TOGETHER_MAX
    return code_of(failures.last) not in NAMED
