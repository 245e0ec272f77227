"""A dead-letter topic, a control topic and a producer in memory, for replays."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mpsd.core import blocked_keys
from mpsd.core.control import ControlState, Entity, EntityKey, key_bytes, value_bytes
from mpsd.core.dead_letter import Sender, headers
from mpsd.core.delivery import FailureHistory, ReplayedDelivery
from mpsd.core.outcome import Outcome
from mpsd.core.record import LogBounds, LogPart
from mpsd.core.replay_book import KINDS
from mpsd.core.retry import DeadLetterRequest, Disposition
from mpsd.errors import ControlUnavailable, DeadLetterTopicGone
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replays import Replaying
from tests.fakes.records import POISON, PRODUCED_MS, Row, assigned, delivery

SENDER = Sender(subscription="billing", group="billing", endpoint="http://127.0.0.1:8000/orders")


def dead_letter(
    offset: int,
    source_offset: int,
    key: bytes | None = b"a",
    *,
    partition: int = 0,
    replays: int = 0,
    last: Outcome = POISON,
    number: int = 0,
    sender: Sender = SENDER,
    at_ms: int = PRODUCED_MS,
) -> Row:
    """Return a dead letter as the daemon writes it; `number` is its partition."""
    dead = delivery(source_offset, key, assigned(partition))
    dead.failures = FailureHistory(attempts=1, last=last)
    reason = getattr(last, "reason", "")
    added = headers(dead, DeadLetterRequest(disposition=Disposition.REJECTED, reason=reason), sender)
    added = [(name, str(replays).encode() if name == "mps-dlq-replays" else value) for name, value in added]
    return Row(
        topic="orders.dlq", partition=number, offset=offset, key=key, value=b"v%d" % source_offset,
        headers=[("own", b"1"), *added], timestamp=at_ms,
    )  # fmt: skip


Listener = Callable[[EntityKey, Entity | None, int], None]


class FakeDeadLetterLog:
    """`DeadLetterLog`, whose partitions are lists; holes are allowed.

    Attributes:
        fetched: the partition of each fetch.
    """

    def __init__(self, *rows: Row, partitions: int = 1) -> None:
        partitions = max([partitions, *(row.partition + 1 for row in rows)])
        self.rows: dict[int, list[Row]] = {number: [] for number in range(partitions)}
        for row in rows:
            self.rows[row.partition].append(row)
        self.starts = dict.fromkeys(self.rows, 0)
        self.error: Exception | None = None
        self.records_max = 1_000
        self.topic_id = ""
        self.fetched: list[int] = []

    async def bounds(self) -> dict[int, LogBounds]:
        if self.error is not None:
            raise self.error
        return {n: LogBounds(self.starts[n], rows[-1].offset + 1 if rows else 0) for n, rows in self.rows.items()}

    async def fetch(self, partition: int, offset: int, records_max: int) -> LogPart:
        await asyncio.sleep(0.001)
        self.fetched.append(partition)
        if self.error is not None:
            raise self.error
        if partition not in self.rows:
            raise DeadLetterTopicGone("no such partition")
        if offset < self.starts[partition]:
            return LogPart((), self.starts[partition])
        rows = [row for row in self.rows[partition] if row.offset >= max(offset, self.starts[partition])]
        rows = rows[: min(records_max, self.records_max)]
        return LogPart(rows, rows[-1].offset + 1 if rows else offset)

    async def close(self) -> None: ...


class FakeRepublisher:
    """`Republisher`."""

    def __init__(self) -> None:
        self.written: list[ReplayedDelivery] = []
        self.errors: list[Exception] = []

    async def write(self, deliveries: Sequence[ReplayedDelivery]) -> None:
        await asyncio.sleep(0.001)
        if self.errors:
            raise self.errors.pop()
        self.written += deliveries

    async def close(self) -> None: ...


class FakeControlTopic:
    """A double of `ControlPlane.record`: documents go through bytes, and everybody reads them back.

    Attributes:
        echo_s: how long after a write that is; 0: before the writer knows that it was written.
        read: revision of what was read last.
        lost_answers: so many of the next writes are made, and not answered.
    """

    def __init__(self) -> None:
        self.state = ControlState(["billing"])
        self._listeners: list[Listener] = []
        self.down = False
        self.writes = 0
        self.echo_s = 0.0
        self.read = -1
        self.lost_answers = 0
        self._offset = 0

    def follow(self, pipeline: Pipeline) -> None:
        """Read all that is there, and go on reading."""
        replays, blocked = pipeline.replays, pipeline.blocked

        def listener(key: EntityKey, entity: Entity | None, revision: int) -> None:
            if replays is not None:
                replays.book.on_entity(key, entity)
            blocked.on_entity(key, entity, revision)

        self._listeners.append(listener)
        for kind in (*KINDS, blocked_keys.KIND):
            for key, entity in self.state.of_kind("billing", kind).items():
                listener(key, entity, entity.revision)

    def follow_no_more(self) -> None:
        """All that read it are dead."""
        self._listeners.clear()

    async def record(self, items: Sequence[tuple[EntityKey, Mapping[str, Any] | None]]) -> int:
        await asyncio.sleep(0.001)
        if self.down:
            raise ControlUnavailable("down")
        self.writes += 1
        for key, document in items:
            self.put(key, document)
        if self.lost_answers:
            self.lost_answers -= 1
            raise ControlUnavailable("no answer")
        return self._offset

    def put(self, key: EntityKey, document: Mapping[str, Any] | None) -> None:
        self._offset += 1
        value = None if document is None else value_bytes(json.loads(json.dumps(document)))
        changed = self.state.apply(self._offset, key_bytes(key), value, (), 0)
        assert changed == key
        entity = self.state.get(key)
        for listener in self._listeners:
            if self.echo_s:
                asyncio.get_running_loop().call_later(self.echo_s, self._tell, listener, key, entity, self._offset)
            else:
                self._tell(listener, key, entity, self._offset)

    def _tell(self, listener: Listener, key: EntityKey, entity: Entity | None, revision: int) -> None:
        self.read = revision
        listener(key, entity, revision)


def replaying(log: FakeDeadLetterLog, republisher: FakeRepublisher, topic: FakeControlTopic, **rules: int) -> Replaying:
    """Return the parts that a subscription replays with."""
    bounds = {"replays_max": 3, "replayed_bytes_max": 256 * 1024, "tasks_max": 100, **rules}
    return Replaying(topic="orders.dlq", log=log, republisher=republisher, record=topic.record, **bounds)
