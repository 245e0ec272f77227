"""A control topic in memory, followed by as many as like."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpsd.core.audit import AuditEntry
from mpsd.core.blocked_keys import BLOCKED
from mpsd.core.control import ControlState, Entity, EntityKey, Provenance
from mpsd.core.replay_book import KINDS
from mpsd.errors import ControlOff, ControlUnavailable
from mpsd.pipeline.pipeline import Pipeline
from mpsd.ports import AuditPage, ControlListener, ControlRecord, Items, control_record

Listener = Callable[[EntityKey, Entity | None, int], None]
NOBODY = Provenance("", "", 0, "", "")


async def _nothing() -> None:
    """Read nothing."""


async def _nowhere(_items: Items) -> int:
    raise ControlOff("there is no control topic")


@dataclass(frozen=True, kw_only=True)
class FakeControl:
    """`Control`, of which nobody hears anything: a test decides by itself."""

    read: Callable[[], Awaitable[None]] = _nothing
    problem: Callable[[], str] = str
    write: Callable[[Items], Awaitable[int]] = _nowhere
    offset: Callable[[], int] = lambda: -1
    is_on: bool = True

    @property
    def revision(self) -> int:
        return self.offset()

    def waiting_for(self) -> str:
        return self.problem()

    async def must_read_to_end(self) -> None:
        await self.read()

    async def record(self, items: Items) -> int:
        return await self.write(items)

    def listen(self, kind: str, listener: Callable[[EntityKey, Entity | None], None]) -> None: ...

    def listen_recreated(self, listener: Callable[[], None]) -> None: ...


NO_CONTROL = FakeControl(is_on=False)


class FakeControlTopic:
    """The topic that control logs share, and that pipelines without a control plane follow by themselves.

    Attributes:
        records: in order; offsets begin at 1, as if the first record were nobody's.
        state: the sum of all records.
        read: revision that the followers have read.
        down: writes of `record` fail.
        lost_answers: so many of the next writes of `record` are made, and not answered.
        echo_s: from a write to its reading by followers; 0: before the writer knows that it was written.
    """

    def __init__(self) -> None:
        self.records: list[ControlRecord] = []
        self.state = ControlState(["billing"])
        self.read = -1
        self.down = False
        self.lost_answers = 0
        self.echo_s = 0.0
        self.writes = 0
        self._listeners: list[Listener] = []

    def follow(self, pipeline: Pipeline) -> None:
        """Let a pipeline read all that is there, and go on reading."""
        replays, blocked = pipeline.replays, pipeline.blocked

        def listener(key: EntityKey, entity: Entity | None, revision: int) -> None:
            if replays is not None:
                replays.book.on_entity(key, entity)
            blocked.on_entity(key, entity, revision)

        self._listeners.append(listener)
        for kind in (*KINDS, BLOCKED):
            for key, entity in self.state.of_kind("billing", kind.name).items():
                listener(key, entity, entity.revision)

    def follow_no_more(self) -> None:
        """Forget the followers, because they are dead."""
        self._listeners.clear()

    async def record(self, items: Sequence[tuple[EntityKey, Mapping[str, Any] | None]]) -> int:
        """Write like `ControlPlane.record`."""
        await asyncio.sleep(0.001)
        if self.down:
            raise ControlUnavailable("down")
        self.writes += 1
        for key, document in items:
            self.put(key, document)
        if self.lost_answers:
            self.lost_answers -= 1
            raise ControlUnavailable("no answer")
        return len(self.records)

    def put(self, key: EntityKey, document: Mapping[str, Any] | None) -> None:
        self.append(control_record(key, document, NOBODY))

    def append(self, record: ControlRecord) -> None:
        self.records.append(record)
        offset = len(self.records)
        key = self.state.apply(offset, record.key, record.value, record.headers, 0)
        if key is None:
            return
        entity = self.state.get(key)
        for listener in self._listeners:
            if self.echo_s:
                asyncio.get_running_loop().call_later(self.echo_s, self._tell, listener, key, entity, offset)
            else:
                self._tell(listener, key, entity, offset)

    def _tell(self, listener: Listener, key: EntityKey, entity: Entity | None, revision: int) -> None:
        self.read = revision
        listener(key, entity, revision)


class FakeControlLog:
    """`ControlLog`.

    Attributes:
        error: raised by every call until it is None.
    """

    def __init__(self, topic: FakeControlTopic) -> None:
        self.topic = topic
        self.error: ControlUnavailable | None = None
        self.reads = 0
        self.is_closed = False
        self.position = -1

    async def start(self, listener: ControlListener) -> None:
        self.listener = listener
        self.position = 1

    async def read_to_end(self) -> int:
        await asyncio.sleep(0.001)
        self._raise()
        self.reads += 1
        for record in self.topic.records[self.position - 1 :]:
            offset, self.position = self.position, self.position + 1
            self.listener.on_record(offset, record.key, record.value, record.headers, 1_000)
        return self.position

    async def write(self, items: Sequence[ControlRecord]) -> int:
        await asyncio.sleep(0.001)
        self._raise()
        for item in items:
            self.topic.append(item)
        return len(self.topic.records)

    def recreated(self) -> None:
        self.topic.records.clear()
        self.topic.state = ControlState(["billing"])
        self.position = 1
        self.listener.on_recreated()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    def waiting_for(self) -> str:
        return str(self.error or "")

    async def close(self) -> None:
        self.is_closed = True


class FakeAudit:
    """`AuditLog`."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.error: ControlUnavailable | None = None
        self.is_closed = False

    async def append(self, entry: AuditEntry) -> None:
        if self.error is not None:
            raise self.error
        self.entries.append(entry)

    async def page(self, before: int | None, entries_max: int, subscription: str, since_ms: int) -> AuditPage:
        raise NotImplementedError

    async def close(self) -> None:
        self.is_closed = True
