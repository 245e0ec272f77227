"""A control topic in memory, followed by as many as like."""

import asyncio
from collections.abc import Sequence

from mpsd.core.audit import AuditEntry
from mpsd.errors import ControlUnavailable
from mpsd.ports import AuditPage, ControlListener, ControlRecord


class FakeControlTopic:
    """The topic that all logs share; offsets begin at 1, as if the first record were nobody's."""

    def __init__(self) -> None:
        self.records: list[ControlRecord] = []


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
        self.topic.records += items
        return len(self.topic.records)

    def recreated(self) -> None:
        self.topic.records.clear()
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
