"""A consumer group of one, whose log is a dict."""

import asyncio
from collections.abc import Collection, Mapping

from mpsd.core.delivery import Assignment
from mpsd.core.offset_map import split_reset
from mpsd.core.record import TopicPartition
from mpsd.errors import MetadataTooLarge
from mpsd.ports import AssignmentListener, CommitPoint, Fetched, Position, SourceStatistics
from tests.fakes.records import Row, assigned


class FakeSource:
    """`RecordSource`: tests produce, assign and take away; commits are kept as a broker would.

    Attributes:
        commits: what each commit said, in the order of time.
        metadata_max: what the broker takes beside a commit, in characters.
        commit_error: raised by the next commits until it is None.
        fetch_error: raised by the next fetch.
        lease_s: what is left of the lease.
        is_silent: fetches bring nothing.
    """

    def __init__(self) -> None:
        self.log: dict[TopicPartition, list[Row]] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.committed: dict[TopicPartition, CommitPoint] = {}
        self.commits: list[dict[Assignment, CommitPoint]] = []
        self.commit_error: Exception | None = None
        self.metadata_max = 1 << 20
        self.commit_takes_s = 0.001
        self.fetch_error: Exception | None = None
        self.fetches: list[set[int]] = []
        self.lease_s = 10.0
        self.is_silent = False
        self.released: list[Assignment] = []
        self.is_closed = False
        self.waiting = ""
        self.topic_sizes: dict[str, int] = {}
        self.start_error: Exception | None = None
        self._positions: dict[Assignment, int] = {}
        self._listener: AssignmentListener | None = None
        self._produced = asyncio.Event()

    # what tests do
    def produce(self, *keys: bytes | None, partition: int = 0, hole: int = 0) -> None:
        """One record a key, and then a hole of the log."""
        tp = TopicPartition("orders", partition)
        for key in keys:
            offset = self.ends.get(tp, 0)
            self.log.setdefault(tp, []).append(Row(partition=partition, offset=offset, key=key))
            self.ends[tp] = offset + 1
        self.ends[tp] = self.ends.get(tp, 0) + hole
        self._produced.set()

    def assign(self, partition: int = 0, epoch: int = 1) -> Assignment:
        assignment = assigned(partition, epoch)
        committed = self.committed.get(assignment.tp)
        begin = committed.next_offset if committed is not None else 0
        self._positions[assignment] = begin
        self.listener.on_assigned(assignment, Position(committed, begin, 0, self.ends.get(assignment.tp, 0)))
        return assignment

    def lose(self, assignment: Assignment) -> None:
        del self._positions[assignment]
        self.listener.on_lost(assignment)

    @property
    def listener(self) -> AssignmentListener:
        assert self._listener is not None
        return self._listener

    # what the port says
    async def start(self, listener: AssignmentListener) -> None:
        if self.start_error is not None:
            raise self.start_error
        self._listener = listener

    async def fetch(
        self, wanted: Collection[Assignment], records_max: int, wait_s: float
    ) -> Mapping[Assignment, Fetched]:
        self.fetches.append({assignment.tp.partition for assignment in wanted})
        if self.fetch_error is not None:
            error, self.fetch_error = self.fetch_error, None
            raise error
        got = self._take(wanted, records_max)
        if not got and wait_s:
            self._produced.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._produced.wait()
            except TimeoutError:
                return {}
            got = self._take(wanted, records_max)
        return got

    def _take(self, wanted: Collection[Assignment], records_max: int) -> dict[Assignment, Fetched]:
        got = {}
        for assignment in () if self.is_silent else wanted:
            position = self._positions.get(assignment)
            end = self.ends.get(assignment.tp, 0)
            if position is None or position >= end or records_max <= 0:
                continue
            records = [row for row in self.log.get(assignment.tp, []) if row.offset >= position][:records_max]
            last = not records or records[-1] is self.log[assignment.tp][-1]
            next_offset = end if last else records[-1].offset + 1
            records_max -= len(records)
            self._positions[assignment] = next_offset
            got[assignment] = Fetched(records, next_offset, end)
        return got

    def topics(self) -> dict[str, int]:
        return self.topic_sizes

    def lease_left_s(self) -> float:
        return self.lease_s

    async def commit(self, points: Mapping[Assignment, CommitPoint]) -> None:
        await asyncio.sleep(self.commit_takes_s)
        if self.commit_error is not None:
            raise self.commit_error
        if any(len(point.metadata) > self.metadata_max for point in points.values()):
            raise MetadataTooLarge("larger than the broker allows")
        self.commits.append(dict(points))
        for assignment, point in points.items():
            before = self.committed.get(assignment.tp)
            was_reset = before is not None and split_reset(before.metadata)[0] != split_reset(point.metadata)[0]
            assert before is None or before.next_offset <= point.next_offset or was_reset, "a commit went back"
            self.committed[assignment.tp] = point

    def release(self, assignments: Collection[Assignment]) -> None:
        for assignment in assignments:
            self._positions.pop(assignment, None)
            self.released.append(assignment)

    def waiting_for(self) -> str:
        return self.waiting

    async def close(self) -> None:
        self.is_closed = True

    def statistics(self) -> SourceStatistics:
        return SourceStatistics(0, {"partitions": len(self._positions)})
