"""A dead letter that holds its key is given up: it is not delivered, and what was blocked behind it can be replayed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from mpsd.core.dead_letter_record import DeadLetterFilter
from mpsd.core.record import LogPart
from mpsd.core.replay import ReplayState
from mpsd.errors import ControlUnavailable, DeadLetterTopicGone, KafkaUnavailable, RecordNotHere, ReplayRefused
from mpsd.pipeline.replay.blocked_key_skips import DeadHead, skip_dead
from mpsd.pipeline.replay.tasks import Replays
from tests.fakes.blocked_keys import ONE_KEY, OTHERS, Fleet, fed, one_daemon, state
from tests.fakes.pipeline import Piped
from tests.fakes.records import Row

NOT_QUEUED = RecordNotHere("it is in no queue")
OF_THE_KEY = DeadLetterFilter(key=b"k")


def replays_of(at: Piped) -> Replays:
    assert at.pipeline.replays is not None
    return at.pipeline.replays


async def skipped(at: Piped, offset: int) -> DeadHead:
    return await skip_dead(at.queues[0], replays_of(at), offset, NOT_QUEUED)


def first_after(fleet: Fleet, event: Callable[[], Awaitable[None]]) -> None:
    """Delay the answer to the next fetch from the dead-letter topic until after the event; answer others at once."""
    fetch = fleet.log.fetch

    async def slowly(partition: int, offset: int, records_max: int) -> LogPart:
        fleet.log.fetch = fetch  # type: ignore[method-assign]
        await event()
        return await fetch(partition, offset, records_max)

    fleet.log.fetch = slowly  # type: ignore[method-assign]


@asynccontextmanager
async def second_is_dead() -> AsyncIterator[tuple[Fleet, Piped]]:
    """Enter a fleet of one daemon where offset 2 has died, and 3 and 5 are blocked."""
    async with one_daemon(*ONE_KEY) as (fleet, at):
        assert fleet.dead_letters() == [(2, "rejected", 0), (3, "blocked", 0), (5, "blocked", 0)]
        yield fleet, at


async def test_the_dead_letter_is_never_delivered_and_the_rest_of_its_key_is() -> None:
    async with second_is_dead() as (fleet, at):
        assert await skipped(at, 2) == DeadHead(b"k", number=0, dead_letter=0, behind=2)
        assert fleet.blocked(), "it goes with the replay"
        await fleet.replay(filter=OF_THE_KEY)
        await asyncio.sleep(10.0)
        at.source.produce(b"k")
        await asyncio.sleep(2.0)
        assert fleet.of(b"k") == [0, 2, 3, 5, 6]
        assert not fleet.blocked()
        assert state(at) is ReplayState.DONE


async def test_a_key_of_which_nothing_is_left_is_let_go() -> None:
    async with one_daemon(*ONE_KEY[:3]) as (fleet, at):
        assert (await skipped(at, 2)).behind == 0
        await fleet.replay(filter=OF_THE_KEY)
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 2]
        assert not fleet.blocked()


async def test_in_a_dead_letter_topic_recreated_it_is_found_without_a_replay_before() -> None:
    async with second_is_dead() as (fleet, at):
        (queue,) = at.queues
        queue.blocked[b"k"] = replace(queue.blocked[b"k"], dead_letter_offset=1_000)
        assert await skipped(at, 2) == DeadHead(b"k", number=0, dead_letter=0, behind=2)
        await fleet.replay(filter=OF_THE_KEY)
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 2, 3, 5]
        assert not fleet.blocked()


async def test_of_a_key_that_is_let_go_during_the_look_nothing_is_found() -> None:
    async with second_is_dead() as (fleet, at):
        fleet.poison = ()
        at.adapter.takes_s = 1.0
        await fleet.replay(filter=OF_THE_KEY)
        await asyncio.sleep(2.0)
        first_after(fleet, lambda: asyncio.sleep(30.0))
        with pytest.raises(RecordNotHere, match="in no queue"):
            await skipped(at, 2)
        assert not fleet.blocked()


async def test_asked_again_it_changes_nothing() -> None:
    async with second_is_dead() as (fleet, at):
        fleet.topic.down = True
        with pytest.raises(ControlUnavailable):
            await skipped(at, 2)
        fleet.topic.down = False
        first, writes = await skipped(at, 2), fleet.topic.writes
        assert await skipped(at, 2) == first
        assert fleet.topic.writes == writes


async def test_all_copies_of_one_that_failed_again_are_settled() -> None:
    async with second_is_dead() as (fleet, at):
        await fleet.replay()
        await asyncio.sleep(5.0)
        assert fleet.dead_letters()[-1] == (2, "rejected", 1)
        assert await skipped(at, 2) == DeadHead(b"k", number=0, dead_letter=0, behind=2)
        await fleet.replay("r2")
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5]
        assert not fleet.blocked()


async def test_what_was_skipped_before_holds_nothing_and_is_not_counted() -> None:
    async with one_daemon() as (fleet, at):
        at.source.produce(*ONE_KEY)
        at.adapter.takes_s = 1.0
        at.source.assign()
        await asyncio.sleep(1.5)
        at.sink.refuse = lambda _: KafkaUnavailable("not now")
        await asyncio.sleep(2.0)
        skipping = asyncio.create_task(at.pipeline.skip("orders", 0, 3, "wrong"))
        await asyncio.sleep(1.0)
        at.sink.refuse = lambda _: None
        await skipping
        await asyncio.sleep(5.0)
        assert fleet.dead_letters() == [(2, "rejected", 0), (3, "skipped", 0), (5, "blocked", 0)]
        assert (await skipped(at, 2)).behind == 1
        await fleet.replay(filter=OF_THE_KEY)
        await asyncio.sleep(20.0)
        assert fleet.of(b"k") == [0, 2, 5]
        assert not fleet.blocked()


async def test_what_is_settled_survives_its_daemon() -> None:
    fleet = Fleet()
    async with fleet.daemon() as first:
        await fed(first, *ONE_KEY)
        await skipped(first, 2)
        fleet.topic.follow_no_more()
    async with fleet.daemon(commit=first) as at:
        at.source.assign(epoch=2)
        await fleet.replay(filter=OF_THE_KEY)
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 2, 3, 5]


async def test_what_does_not_hold_its_key_is_refused_and_what_does_is_named() -> None:
    async with second_is_dead() as (_, at):
        with pytest.raises(RecordNotHere, match="orders/0@3 does not hold its key: orders/0@2 does"):
            await skipped(at, 3)
        for offset in (0, 1, 99):
            with pytest.raises(RecordNotHere, match="in no queue"):
                await skipped(at, offset)
        await skipped(at, 2)
        assert (await skipped(at, 3)).behind == 1, "nothing died that is not settled"


async def test_where_nothing_is_held_nothing_is_looked_up() -> None:
    async with one_daemon(*ONE_KEY, poison=()) as (fleet, at):
        with pytest.raises(RecordNotHere, match="in no queue"):
            await skipped(at, 2)
        assert not fleet.log.fetched


async def test_a_replay_that_is_at_work_on_the_key_is_named() -> None:
    async with second_is_dead() as (fleet, at):
        fleet.poison = ()
        at.adapter.takes_s = 5.0
        await fleet.replay(filter=OF_THE_KEY)
        await asyncio.sleep(2.0)
        with pytest.raises(ReplayRefused, match="replay r1 is at work"):
            await skipped(at, 2)
        await asyncio.sleep(30.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5]


async def test_a_replay_of_something_else_that_is_at_work_there_hears_of_it() -> None:
    async with one_daemon(poison={1, 2}) as (fleet, at):
        await asyncio.sleep(0)
        await fed(at, *ONE_KEY)
        at.adapter.takes_s = 5.0
        fleet.poison = {2}
        await fleet.replay(filter=DeadLetterFilter(key=OTHERS[0]))
        await asyncio.sleep(2.0)
        assert replays_of(at).run_of(at.queues[0].assignment) is not None
        await skipped(at, 2)
        await asyncio.sleep(30.0)
        await fleet.replay("r2", filter=OF_THE_KEY)
        await asyncio.sleep(60.0)
        assert fleet.of(b"k") == [0, 2, 3, 5]
        assert not fleet.blocked()


async def test_dead_letters_of_others_and_of_earlier_times_are_not_touched() -> None:
    async with second_is_dead() as (fleet, at):
        rows = fleet.log.rows[0]
        rows.append(Row(topic="orders.dlq", offset=rows[-1].offset + 1, key=b"k", headers=[("stranger", b"1")]))
        await fleet.replay(filter=OF_THE_KEY)
        fleet.poison = ()
        await asyncio.sleep(10.0)
        fleet.poison = {6}
        at.source.produce(b"k", b"k")
        await asyncio.sleep(5.0)
        assert fleet.dead_letters()[-2:] == [(6, "rejected", 0), (7, "blocked", 0)]
        with pytest.raises(RecordNotHere, match="in no queue"):
            await skipped(at, 2)
        assert (await skipped(at, 6)).behind == 1


async def test_a_member_that_is_not_sure_of_its_partition_changes_nothing() -> None:
    async with second_is_dead() as (fleet, at):
        at.source.lease_s = 0.0
        writes = fleet.topic.writes
        with pytest.raises(ControlUnavailable, match="not sure"):
            await skipped(at, 2)
        assert fleet.topic.writes == writes


async def test_a_dead_letter_topic_that_is_gone_is_said_to_be() -> None:
    async with second_is_dead() as (fleet, at):
        fleet.log.rows.clear()
        with pytest.raises(DeadLetterTopicGone, match="no partition 0"):
            await skipped(at, 2)


async def test_a_replay_that_begins_during_the_look_is_named_too() -> None:
    async with second_is_dead() as (fleet, at):
        fleet.poison = ()
        at.adapter.takes_s = 5.0

        async def begin() -> None:
            await fleet.replay("r1", filter=OF_THE_KEY)
            await asyncio.sleep(2.0)

        first_after(fleet, begin)
        with pytest.raises(ReplayRefused, match="replay r1 is at work"):
            await skipped(at, 2)
        await asyncio.sleep(60.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5]
