"""Resets over owners that come, go and die between any two steps, against a list of what was written."""

import asyncio
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from mpsd.core.control import Provenance
from mpsd.core.delivery import Assignment
from mpsd.core.offset_map import split_reset
from mpsd.core.record import TopicPartition
from mpsd.core.resets import Reset, Target
from mpsd.errors import CommitFenced, KafkaUnavailable
from mpsd.ports import CommitPoint
from tests.fakes.control import FakeControl
from tests.fakes.pipeline import Piped
from tests.fakes.pipeline import settings as pipeline_settings
from tests.fakes.records import PRODUCED_MS
from tests.fakes.source import FakeSource
from tests.virtual_time import run_in_virtual_time

PARTITIONS = 2
RECORDS = 12
STEPS = st.one_of(
    st.tuples(st.just("reset"), st.lists(st.integers(-1, RECORDS), min_size=PARTITIONS, max_size=PARTITIONS)),
    st.tuples(st.just("produce"), st.integers(0, PARTITIONS - 1)),
    st.tuples(st.just("hand on"), st.integers(0, PARTITIONS - 1)),
    st.tuples(st.just("crash"), st.none()),
    st.tuples(st.just("commits"), st.sampled_from(["prompt", "refused", "unheard"])),
    st.tuples(st.just("rest"), st.sampled_from([0.0, 0.002, 0.02, 0.2, 1.5])),
)


class Group:
    """State that owners share, one of whom has all partitions.

    Attributes:
        said: of each partition, what every commit named and where it was.
    """

    def __init__(self) -> None:
        self.log: dict[TopicPartition, list[Any]] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.committed: dict[TopicPartition, CommitPoint] = {}
        self.said: dict[TopicPartition, list[CommitPoint]] = {}
        self.commits = "prompt"
        self.epoch = 0
        self.written: list[Reset] = []
        self.owner: Owner | None = None

    def write(self, offsets: list[int]) -> None:
        """-1 leaves a partition where it is."""
        targets = {}
        for number, offset in enumerate(offsets):
            tp = TopicPartition("orders", number)
            if offset >= 0:
                stands = self.committed.get(tp, CommitPoint(0, "")).next_offset
                targets[tp] = Target(min(offset, self.ends.get(tp, 0)), stands)
        revision = len(self.written) + 1
        provenance = Provenance("ann", "", PRODUCED_MS, "", "")
        self.written.append(Reset(id=f"{revision:08x}", targets=targets, revision=revision, provenance=provenance))


class SharedSource(FakeSource):
    """The source of one owner; its commits are refused once another owner has taken over."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self._group = group
        self.log, self.ends, self.committed = group.log, group.ends, group.committed
        self.is_over = False

    @override
    async def commit(self, points: Mapping[Assignment, CommitPoint]) -> None:
        await asyncio.sleep(self.commit_takes_s)
        if self.is_over:
            raise CommitFenced("the membership is over")
        if self._group.commits == "refused":
            raise KafkaUnavailable("not now")
        for assignment, point in points.items():
            self.committed[assignment.tp] = point
            self._group.said.setdefault(assignment.tp, []).append(point)
        await asyncio.sleep(self.commit_takes_s)
        if self._group.commits == "unheard":
            raise KafkaUnavailable("no answer came")

    @override
    def release(self, assignments: Any) -> None:
        super().release(assignments)
        for assignment in assignments:
            asyncio.get_running_loop().call_later(0.01, self._again, assignment.tp.partition)

    def _again(self, partition: int) -> None:
        if not self.is_over:
            self._group.epoch += 1
            self.assign(partition, self._group.epoch)


class Owner:
    """One life of a daemon."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.assignments: dict[int, Assignment] = {}

    async def start(self) -> None:
        told = pipeline_settings(commit_interval_s=0.1, drain_timeout_s=1.0)
        self.source = SharedSource(self._group)
        self.at = Piped(told, FakeControl(read=self._read), source=self.source)
        await self.at.pipeline.start()
        await self.at.joined()
        for partition in range(PARTITIONS):
            self._group.epoch += 1
            self.source.assign(partition, self._group.epoch)

    async def _read(self) -> None:
        await asyncio.sleep(0.003)
        self.tell()

    def tell(self) -> None:
        """Write a control record; the last one wins."""
        if self._group.written and not self.source.is_over:
            self.at.pipeline.controls.set_reset(self._group.written[-1])

    async def die(self) -> None:
        """Nothing of what it does reaches anybody any more."""
        self.source.is_over = True
        for queue in list(self.at.queues):
            self.source.lose(queue.assignment)
        await self.at.pipeline.stop(0.0)

    def leave(self, partition: int) -> None:
        for queue in self.at.queues:
            if queue.assignment.tp.partition == partition:
                self.source.listener.on_leaving(queue.assignment)


async def story(steps: list[tuple[str, Any]]) -> Group:
    group = Group()
    owner = Owner(group)
    await owner.start()
    for what, how in steps:
        match what:
            case "reset":
                group.write(how)
                asyncio.get_running_loop().call_later(0.005, owner.tell)
            case "produce":
                owner.source.produce(*(b"%d" % number for number in range(RECORDS)), partition=how)
            case "hand on":
                owner.leave(how)
            case "crash":
                dead, owner = owner, Owner(group)
                await dead.die()
                await owner.start()
            case "commits":
                group.commits = how
            case _:
                await asyncio.sleep(how)
    group.commits = "prompt"
    await asyncio.sleep(20.0)
    assert owner.at.pipeline.state == "running"
    for queue in owner.at.queues:
        assert queue.tracker.next_offset == group.ends.get(queue.assignment.tp, 0)
    assert len(owner.at.queues) == PARTITIONS
    await owner.at.pipeline.stop(1.0)
    return group


@settings(max_examples=80, deadline=None)
@given(st.lists(STEPS, max_size=14))
def test_each_reset_is_applied_once_in_the_order_in_which_they_were_written(steps: list[tuple[str, Any]]) -> None:
    group = run_in_virtual_time(story(steps))
    for number in range(PARTITIONS):
        tp = TopicPartition("orders", number)
        meant = [reset for reset in group.written if tp in reset.targets]
        ids = [reset.id for reset in meant]
        applied, before = list[str](), CommitPoint(0, "")
        for point in group.said.get(tp, []):
            named, rest = split_reset(point.metadata)
            if named == split_reset(before.metadata)[0]:
                assert point.next_offset >= before.next_offset
            else:
                assert (point.next_offset, rest) == (meant[ids.index(named)].targets[tp].offset, ""), (
                    "all in one commit"
                )
                applied.append(named)
            before = point
        assert applied == sorted(set(applied)), "once each, in the order of their revisions"
        if group.written and tp in group.written[-1].targets:
            assert applied[-1:] == ids[-1:], "the last one without fail"
        assert before.next_offset == group.ends.get(tp, 0)
