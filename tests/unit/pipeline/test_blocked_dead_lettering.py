"""Dead records whose keys are blocked or will be: skipped, crowded, without their partition."""

import asyncio
from collections.abc import Collection

import pytest

from mpsd.core.blocked_keys import BLOCKED
from mpsd.core.codec import bytes_of
from mpsd.errors import ControlUnavailable, KafkaUnavailable, RecordNotHere
from mpsd.pipeline.control.blocks import UNWRITABLE
from mpsd.pipeline.dead_letter_writer import BLOCKED_KEY_BYTES_MAX
from mpsd.ports import DlqPosition, Items
from tests.fakes.blocked_keys import Fleet, fed, one_daemon
from tests.fakes.control import FakeControl
from tests.fakes.pipeline import Piped
from tests.fakes.records import POISON


def skip(at: Piped, offset: int) -> asyncio.Task[DlqPosition]:
    return asyncio.create_task(at.pipeline.skip("orders", 0, offset, "in the way"))


async def with_one_blocked(fleet: Fleet, at: Piped, *keys: bytes) -> None:
    """Offset 0 has died."""
    fleet.poison = {0}
    await fed(at, *keys)
    assert list(at.queues[0].blocked) == [keys[0]]


@pytest.mark.parametrize("is_busy", [False, True])
async def test_what_is_set_aside_can_be_skipped(is_busy: bool) -> None:
    async with one_daemon() as (fleet, at):
        await with_one_blocked(fleet, at, b"k", b"k")
        fleet.poison = ()
        queue, pending = at.queues[0], at.pipeline.pending
        pending.postpone_key(queue, b"k")
        at.source.produce(b"k", b"k")
        await asyncio.sleep(1.0)
        assert len(queue.postponed[b"k"]) == 2
        at.adapter.takes_s = 5.0
        if is_busy:
            await fleet.replay()
            await asyncio.sleep(2.0)
            assert queue.lanes.tails
        await skip(at, 2)
        assert fleet.dead_letters()[-1] == (2, "skipped", 0)
        assert bool(queue.lanes.tails) == is_busy
        if not is_busy:
            await fleet.replay()
        await asyncio.sleep(60.0)
        assert at.pipeline.state == "running"
        assert fleet.of(b"k") == [0, 0, 1, 3]
        assert at.committed() == 4


async def test_what_waits_behind_a_replayed_record_of_a_held_key_is_skipped_and_never_delivered() -> None:
    async with one_daemon() as (fleet, at):
        await with_one_blocked(fleet, at, *[b"k"] * 100)
        fleet.poison = ()
        at.adapter.takes_s = 5.0
        await fleet.replay()
        await asyncio.sleep(2.0)
        at.source.produce(b"k", b"k", b"k")
        await asyncio.sleep(0.5)
        await asyncio.gather(skip(at, 100), skip(at, 102))
        assert sorted(fleet.dead_letters()[-2:]) == [(100, "skipped", 0), (102, "skipped", 0)]
        at.adapter.takes_s = 0.01
        await asyncio.sleep(60.0)
        assert fleet.dead_letters()[-1] == (101, "blocked", 0)
        assert fleet.of(b"k") == [0, *range(100), 101]


async def test_what_is_rejected_after_it_was_skipped_holds_no_key() -> None:
    async with one_daemon(poison=()) as (fleet, at):
        at.adapter.answer = lambda _: None
        await fed(at, b"k", b"k", wait_s=1.0)
        asked = skip(at, 0)
        await asyncio.sleep(1.0)
        (delivery,) = at.adapter.in_flight
        at.adapter.end(delivery, POISON)
        await asked
        await asyncio.sleep(1.0)
        assert fleet.dead_letters() == [(0, "skipped", 0)]
        assert not fleet.blocked()


async def test_what_waits_for_room_to_hold_its_key_is_skipped_at_once() -> None:
    async with one_daemon(b"a", b"k", b"k", poison={0, 1}, keys_max=1) as (fleet, at):
        assert at.queues[0].crowded == 1
        async with asyncio.timeout(1.0):
            await skip(at, 1)
        await asyncio.sleep(1.0)
        assert fleet.dead_letters() == [(1, "skipped", 0)]
        assert (at.queues[0].crowded, fleet.of(b"k"), at.committed()) == (0, [1, 2], 3)


async def test_what_could_not_be_written_so_far_is_written_as_skipped() -> None:
    async with one_daemon(poison={0}) as (fleet, at):
        at.sink.refuse = lambda _: KafkaUnavailable("down")
        at.sink.takes_s = 0.5
        await fed(at, b"k", b"k", wait_s=0.3)
        asked = skip(at, 0)  # while it is being written
        await asyncio.sleep(0.3)
        at.sink.refuse = lambda _: None
        await asked
        await asyncio.sleep(2.0)
        assert fleet.dead_letters() == [(0, "skipped", 0)]
        assert not fleet.blocked()
        assert fleet.of(b"k") == [0, 1]


@pytest.mark.parametrize("after_s", [0.3, 2.0])
async def test_a_skip_that_comes_too_late_says_so(after_s: float) -> None:
    fleet = Fleet()
    fleet.poison = {0}
    fleet.topic.down = after_s > 1.0
    async with fleet.daemon() as at:
        at.sink.takes_s = 0.5
        at.source.produce(b"k", b"k")
        at.source.assign()
        await asyncio.sleep(after_s)
        asked = skip(at, 0)
        await asyncio.sleep(0.5)
        fleet.topic.down = False
        with pytest.raises(RecordNotHere, match="ask again"):
            await asked
        await asyncio.sleep(2.0)
        assert fleet.dead_letters() == [(0, "rejected", 0), (1, "blocked", 0)]
        assert fleet.blocked()


async def test_room_that_a_lost_partition_leaves_is_taken() -> None:
    async with one_daemon(keys_max=1) as (fleet, at):
        fleet.topic.down, fleet.poison = True, {0}
        at.source.produce(b"a", partition=0)
        at.source.produce(b"b", partition=1)
        lost = at.source.assign(0)
        await asyncio.sleep(1.0)
        at.source.assign(1)
        await asyncio.sleep(40.0)
        at.source.lose(lost)
        fleet.topic.down = False
        await asyncio.sleep(60.0)
        (queue,) = at.queues
        assert (queue.crowded, list(queue.blocked), at.committed(1)) == (0, [b"b"], 1)


async def test_what_waits_for_room_does_not_keep_its_partition_from_leaving() -> None:
    async with one_daemon(keys_max=1, drain_timeout_s=60.0) as (fleet, at):
        fleet.poison = {0, 1}
        at.source.produce(b"a", b"b")
        leaving = at.source.assign()
        await asyncio.sleep(5.0)
        assert at.queues[0].crowded == 1
        at.source.listener.on_leaving(leaving)
        await asyncio.sleep(5.0)
        assert at.source.released
        assert at.committed() == 1


class Grudging:
    """A control topic that takes no entries of some keys."""

    def __init__(self, fleet: Fleet, at: Piped, refused: Collection[bytes]) -> None:
        self.refused = refused
        self._record = fleet.topic.record
        at.pipeline.blocked._control = FakeControl(write=self.record, offset=lambda: fleet.topic.read)

    async def record(self, items: Items) -> int:
        if any(key[1] == BLOCKED.name and bytes_of(key[5]) in self.refused for key, _ in items):
            raise ControlUnavailable("no")
        return await self._record(items)


async def test_entries_that_cannot_be_written_stop_no_partition_but_their_own() -> None:
    async with one_daemon() as (fleet, at):
        topic = Grudging(fleet, at, {b"p%d" % number for number in range(5)})
        fleet.poison = {0}
        for number in range(7):
            at.source.produce(b"p%d" % number, b"o", partition=number)
            at.source.assign(number)
        await asyncio.sleep(60.0)
        assert [list(queue.causes) for queue in at.queues] == [[UNWRITABLE]] * 5 + [[]] * 2
        assert [at.committed(number) for number in range(4, 7)] == [0, 2, 2]
        topic.refused = {b"p2"}
        await asyncio.sleep(60.0)
        assert [len(queue.causes) for queue in at.queues] == [0, 0, 1, 0, 0, 0, 0]
        topic.refused = ()
        await asyncio.sleep(60.0)
        assert [at.committed(number) for number in range(7)] == [2] * 7


async def test_a_partition_waits_for_the_last_of_its_keys() -> None:
    async with one_daemon() as (fleet, at):
        topic = Grudging(fleet, at, [b"b"])
        fleet.poison = {0, 1}
        await fed(at, b"a", b"b", wait_s=30.0)
        (queue,) = at.queues
        assert (list(queue.blocked), list(queue.causes), at.committed()) == ([b"a"], [UNWRITABLE], 1)
        topic.refused = ()
        await asyncio.sleep(30.0)
        assert (list(queue.blocked), list(queue.causes), at.committed()) == ([b"a", b"b"], [], 2)


async def test_a_key_that_no_control_record_has_room_for_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with one_daemon() as (fleet, at):
        largest, too_large = b"x" * BLOCKED_KEY_BYTES_MAX, b"x" * (BLOCKED_KEY_BYTES_MAX + 1)
        fleet.poison = {0, 1}
        await fed(at, largest, too_large, too_large, largest)
        assert list(at.queues[0].blocked) == [largest]
        assert (fleet.of(largest), fleet.of(too_large), at.committed()) == ([0], [1, 2], 4)
    assert [getattr(each, "code", "") for each in caplog.records].count("blocked_key.too_large") == 1
