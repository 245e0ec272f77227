"""Records to deliver, and what an adapter said of each delivery."""

from dataclasses import dataclass

from mpsd.core.delivery import Assignment, Delivery, FailureHistory
from mpsd.core.incarnation import Incarnation
from mpsd.core.outcome import Outcome
from mpsd.core.record import TopicPartition
from mpsd.ports import DeliveryAdapter
from tests.conformance.watch import Watch


@dataclass(slots=True, kw_only=True)
class Row:
    topic: str = "orders"
    partition: int = 3
    offset: int = 1842
    timestamp: int = 1_700_000_000_123
    key: bytes | None = b"k1"
    value: bytes | None = b"hello"
    headers: tuple[tuple[str, bytes | None], ...] = ()


INCARNATION = Incarnation(bytes(range(16)), "test")


def assigned(partition: int = 3, epoch: int = 7) -> Assignment:
    return Assignment(TopicPartition("orders", partition), epoch, INCARNATION)


def delivery(assignment: Assignment | None = None, *, attempts: int = 0, **fields: object) -> Delivery:
    assignment = assignment or assigned()
    row = Row(topic=assignment.tp.topic, partition=assignment.tp.partition)
    for name, value in fields.items():
        setattr(row, name, value)
    made = Delivery(row, assignment, row.key, len(row.value or b""))
    if attempts:
        made.failures = FailureHistory(attempts=attempts)
    return made


def deliveries(count: int, assignment: Assignment | None = None) -> list[Delivery]:
    assignment = assignment or assigned()
    return [delivery(assignment, offset=offset, key=b"k%d" % offset) for offset in range(count)]


class Settlements:
    """Settled deliveries. Complains of a delivery settled twice, never given, or settled within `deliver`."""

    def __init__(self) -> None:
        self.outcomes: dict[Delivery, Outcome] = {}
        self.watch = Watch()
        self._given: set[Delivery] = set()
        self._is_delivering = False
        self.complaints: list[str] = []

    def deliver(self, adapter: DeliveryAdapter, *batch: Delivery) -> None:
        assert len(batch) <= adapter.demand().records
        self._given.update(batch)
        self._is_delivering = True
        adapter.deliver(batch)
        self._is_delivering = False

    def settle(self, settled: Delivery, outcome: Outcome) -> None:
        if self._is_delivering:
            self.complaints.append(f"{settled} settled before deliver had returned")
        if settled not in self._given:
            self.complaints.append(f"{settled} settled twice, or never given: {outcome}")
        self._given.discard(settled)
        self.outcomes[settled] = outcome
        self.watch.changed()

    @property
    def open(self) -> int:
        return len(self._given)

    async def of(self, settled: Delivery) -> Outcome:
        await self.watch.until(lambda: settled in self.outcomes)
        return self.outcomes[settled]

    async def all(self) -> list[Outcome]:
        await self.watch.until(lambda: not self._given)
        return list(self.outcomes.values())
