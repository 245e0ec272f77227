"""Keys blocked behind dead letters, over whole pipelines between doubles, in virtual time."""

import asyncio
from dataclasses import replace

import pytest

from mpsd.core.dead_letter_record import DeadLetterFilter
from mpsd.core.pauses import Scope
from mpsd.core.replay import ReplayState
from mpsd.core.retry import Disposition
from mpsd.core.states import LaneState
from mpsd.errors import ControlUnavailable, KafkaUnavailable
from mpsd.pipeline.control.blocks import UNWRITABLE
from mpsd.pipeline.inspection import lanes_of
from mpsd.pipeline.replay import blocked_keys
from tests.fakes.blocked_keys import ONE_KEY, OTHERS, Fleet, fed, one_daemon, pause_of, state


@pytest.mark.parametrize("echo_s", [0.0, 3.0])
async def test_later_records_of_a_key_follow_its_dead_letter_and_others_flow(echo_s: float) -> None:
    fleet = Fleet()
    fleet.topic.echo_s = echo_s
    async with fleet.daemon() as at:
        await fed(at, *ONE_KEY)
        assert fleet.of(b"k") == [0, 2]
        assert fleet.dead_letters() == [(2, "rejected", 0), (3, "blocked", 0), (5, "blocked", 0)]
        assert {key for key, _ in fleet.accepted} == {b"k", *OTHERS[:2]}
        assert at.committed() == 6
        assert fleet.blocked()
        assert at.pipeline.statistics().blocked_keys == 1


async def test_nothing_is_finished_before_the_key_is_held() -> None:
    fleet = Fleet()
    fleet.topic.down = True
    async with fleet.daemon() as at:
        await fed(at, *ONE_KEY)
        assert fleet.dead_letters() == [(2, "rejected", 0)]
        assert at.committed() == 2
        (partition,) = at.pipeline.statistics().partitions
        assert partition.state == UNWRITABLE
        fleet.topic.down = False
        await asyncio.sleep(10.0)
        assert fleet.dead_letters() == [(2, "rejected", 0), (3, "blocked", 0), (5, "blocked", 0)]
        assert at.committed() == 6


async def test_whoever_owns_the_partition_next_holds_the_key_too() -> None:
    fleet = Fleet()
    async with fleet.daemon() as first:
        await fed(first, *ONE_KEY[:4])
    first.source.produce(b"k", OTHERS[2])
    async with fleet.daemon(commit=first) as at:
        at.source.assign(epoch=2)
        await asyncio.sleep(5.0)
        assert fleet.of(b"k") == [0, 2]
        assert fleet.dead_letters()[-1] == (4, "blocked", 0)
        assert at.committed() == 6


async def test_a_replay_brings_the_key_whole_and_in_order_and_lets_it_go() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, at):
        fleet.poison = ()
        await fleet.replay(filter=DeadLetterFilter(key=b"k"))
        await asyncio.sleep(10.0)
        at.source.produce(b"k")
        await asyncio.sleep(5.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5, 6]
        assert not fleet.blocked()
        assert not at.queues[0].blocked
        assert state(at) is ReplayState.DONE
        assert len(fleet.dead_letters()) == 3
        assert at.committed() == 7


@pytest.mark.parametrize("echo_s", [0.0, 3.0])
async def test_a_replay_reaches_the_live_end_of_a_key_that_goes_on(echo_s: float) -> None:
    fleet = Fleet()
    fleet.topic.echo_s = echo_s
    async with fleet.daemon() as at:
        at.adapter.takes_s = 0.05
        at.source.assign()
        at.source.produce(*(b"k" for _ in range(500)))
        await asyncio.sleep(5.0)
        fleet.poison = ()
        await fleet.replay(filter=DeadLetterFilter(dispositions=frozenset({Disposition.REJECTED})))

        async def produce() -> None:
            for _ in range(600):
                at.source.produce(b"k", *OTHERS)
                await asyncio.sleep(0.1)

        await produce()
        await asyncio.sleep(60.0)
        assert fleet.of(b"k")[:3] == [0, 1, 2]
        once = fleet.of(b"k")[3:]
        assert once == sorted(once)
        assert len(once) == 1_100 - 2
        assert not fleet.blocked()
        assert state(at) is ReplayState.DONE
        live = {offset for offset, _, _ in fleet.dead_letters()}
        assert len(live) < 1_100 - 2  # the last of them came without a dead letter
        assert at.committed() == 500 + 600 * 6


async def test_what_fails_again_leaves_the_key_held_and_comes_first_the_next_time() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, at):
        await fleet.replay()
        await asyncio.sleep(5.0)
        assert fleet.of(b"k") == [0, 2, 2]
        assert fleet.dead_letters() == [(2, "rejected", 0), (3, "blocked", 0), (5, "blocked", 0), (2, "rejected", 1)]
        assert fleet.blocked()
        assert state(at) is ReplayState.DONE
        fleet.poison = ()
        at.source.produce(b"k")
        await asyncio.sleep(5.0)
        await fleet.replay("r2")
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 2, 2, 2, 3, 5, 6]
        assert not fleet.blocked()


async def test_of_two_dead_letters_of_one_record_one_is_delivered() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, _):
        rows = fleet.log.rows[0]  # its owner was killed before it committed, and the next one wrote it again
        rows.append(replace(rows[1], offset=3))
        assert fleet.dead_letters()[-1] == (3, "blocked", 0)
        fleet.poison = ()
        await fleet.replay()
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5]
        assert not fleet.blocked()


async def test_a_quarantined_dead_letter_leaves_the_key_held() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, _):
        for number in range(4):
            await fleet.replay(f"r{number}")
            await asyncio.sleep(5.0)
        assert fleet.of(b"k") == [0, 2, 2, 2, 2]  # three times, then never more
        assert fleet.blocked()
        fleet.poison = ()
        await fleet.replay("r9", include_quarantined=True)
        await asyncio.sleep(10.0)
        assert fleet.of(b"k")[5:] == [2, 3, 5]
        assert not fleet.blocked()


async def test_a_replay_that_means_nothing_of_a_held_key_leaves_it_alone() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, at):
        await fleet.replay(filter=DeadLetterFilter(key=b"another"))
        await asyncio.sleep(5.0)
        assert fleet.of(b"k") == [0, 2]
        assert fleet.blocked()
        assert state(at) is ReplayState.DONE


async def test_a_cancelled_replay_leaves_the_key_held_and_the_next_goes_on_where_it_stood() -> None:
    async with one_daemon() as (fleet, at):
        at.adapter.takes_s = 1.0
        at.source.assign()
        at.source.produce(*(b"k" for _ in range(20)))
        await asyncio.sleep(30.0)
        fleet.poison = ()
        await fleet.replay()
        await asyncio.sleep(5.0)
        assert at.pipeline.replays is not None
        task = at.pipeline.replays.book.tasks["r1"]
        fleet.topic.put(task.key, {**task.document(), "state": "cancelled"})
        at.pipeline.replays.on_entity(task.key, fleet.topic.state.get(task.key))
        at.source.produce(b"k")
        await asyncio.sleep(10.0)
        assert fleet.blocked()
        reached = fleet.of(b"k")[-1]
        assert 2 < reached < 15
        await fleet.replay("r2")
        await asyncio.sleep(60.0)
        assert fleet.of(b"k") == [0, 1, 2, *range(2, 21)]
        assert not fleet.blocked()


async def test_the_next_owner_goes_on_with_a_replay_of_a_held_key() -> None:
    fleet = Fleet()
    async with fleet.daemon() as first:
        first.adapter.takes_s = 1.0
        first.source.assign()
        first.source.produce(*(b"k" for _ in range(20)))
        await asyncio.sleep(30.0)
        fleet.poison = ()
        await fleet.replay(filter=DeadLetterFilter(dispositions=frozenset({Disposition.REJECTED})))
        await asyncio.sleep(6.5)
    async with fleet.daemon(commit=first) as at:
        at.adapter.takes_s = 1.0
        at.source.assign(epoch=2)
        await asyncio.sleep(60.0)
        came = fleet.of(b"k")[3:]
        assert came == sorted(came)
        assert set(came) == set(range(2, 20))
        assert len(came) <= 18 + 1  # what was out when the first one left
        assert not fleet.blocked()
        assert state(at) is ReplayState.DONE


async def test_a_key_beyond_the_bound_waits_until_there_is_room() -> None:
    async with one_daemon(b"a", b"b", b"a", b"b", *OTHERS, poison={0, 1}, keys_max=1) as (fleet, at):
        assert at.committed() == 1
        assert {key for key, _ in fleet.accepted} == set(OTHERS)
        (partition,) = at.pipeline.statistics().partitions
        assert partition.state == "blocked-keys-full"
        assert partition.blocked_keys == 1
        seen = [view async for views in lanes_of(at.pipeline, Scope("billing")) for view in views]
        assert [(view.head.record.key, view.state) for view in seen] == [(b"b", LaneState.BLOCKED_KEYS_FULL)]
        fleet.poison = ()
        await fleet.replay(filter=DeadLetterFilter(key=b"a"))
        await asyncio.sleep(20.0)
        assert not fleet.blocked(b"a")
        assert fleet.blocked(b"b")
        assert fleet.of(b"a") == [0, 0, 2]
        assert fleet.of(b"b") == [1]
        assert at.committed() == 4 + len(OTHERS)


async def test_what_a_former_owner_writes_late_is_written_over() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, at):
        fleet.topic.put(fleet.entity(), None)
        fleet.topic.put(
            fleet.entity(b"z"), {"epoch": 0, "offset": 1, "dead_letter_partition": 0, "dead_letter_offset": 0}
        )
        at.source.produce(b"k", b"z")
        await asyncio.sleep(5.0)
        assert fleet.blocked()
        assert not fleet.blocked(b"z")
        assert fleet.dead_letters()[-1] == (6, "blocked", 0)
        assert fleet.of(b"z") == [7]


async def test_an_operator_who_skips_holds_nothing() -> None:
    async with one_daemon(poison=()) as (fleet, at):
        at.adapter.answer = lambda _: None
        await fed(at, b"k", b"k", wait_s=1.0)
        skipped = asyncio.create_task(at.pipeline.skip("orders", 0, 1, "wrong"))
        await asyncio.sleep(1.0)
        assert skipped.done()
        assert fleet.dead_letters() == [(1, "skipped", 0)]
        assert not fleet.blocked()


async def test_what_an_operator_skipped_of_a_held_key_is_not_brought_back_with_it() -> None:
    async with one_daemon(b"k", b"k", poison={0}) as (fleet, at):
        at.pipeline.writer.concurrency_max = 0
        at.source.produce(b"k", b"k")
        await asyncio.sleep(1.0)
        await at.pipeline.skip("orders", 0, 2, "wrong")
        at.pipeline.writer.concurrency_max = 10
        at.pipeline.writer.wake()
        await asyncio.sleep(1.0)
        assert fleet.dead_letters() == [(0, "rejected", 0), (1, "blocked", 0), (2, "skipped", 0), (3, "blocked", 0)]
        fleet.poison = ()
        await fleet.replay()
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 0, 1, 3]
        assert not fleet.blocked()


async def test_a_dead_letter_topic_with_more_partitions_than_before_hides_nothing_of_what_it_shows() -> None:
    """The dead letter of one key is said to be in a partition that its records do not go to any more."""
    async with one_daemon(b"k", b"z", poison={0, 1}) as (fleet, at):
        (queue,) = at.queues
        queue.blocked[b"k"] = replace(queue.blocked[b"k"], dead_letter_partition=7, dead_letter_offset=1_000)
        fleet.poison = ()
        await fleet.replay()
        await asyncio.sleep(10.0)
        assert (fleet.of(b"k"), fleet.of(b"z")) == ([0, 0], [1, 1])
        assert not queue.blocked


async def test_records_without_a_key_are_never_held() -> None:
    fleet = Fleet()
    fleet.poison = {0}
    async with fleet.daemon() as at:
        await fed(at, None, None, wait_s=2.0)
        assert sorted(offset for _, offset in fleet.seen) == [0, 1]
        assert at.pipeline.statistics().blocked_keys == 0
        assert at.committed() == 2


async def test_a_paused_held_key_waits_and_is_let_go_once_it_is_resumed() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, at):
        fleet.poison = ()
        at.pipeline.controls.set_pauses([pause_of(b"k")])
        at.source.produce(b"k")
        await fleet.replay()
        await asyncio.sleep(30.0)
        assert fleet.of(b"k") == [0, 2]
        at.pipeline.controls.set_pauses([])
        await asyncio.sleep(30.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5, 6]
        assert not fleet.blocked()


async def test_a_silent_broker_delays_a_replay_of_a_held_key_and_nothing_else() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, _):
        fleet.poison = ()
        await fleet.replay()
        fleet.log.error = KafkaUnavailable("down")
        await asyncio.sleep(5.0)
        fleet.log.error = None
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5]
        assert not fleet.blocked()


async def test_expired_dead_letters_of_a_held_key_are_counted_and_the_rest_comes() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, _):
        fleet.poison = ()
        fleet.log.starts[0] = 1
        await fleet.replay()
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 2, 3, 5]
        assert not fleet.blocked()


async def test_more_dead_letters_than_a_round_looks_up_come_in_order_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that failed again stands last in the topic, and is the first of the key."""
    monkeypatch.setattr(blocked_keys, "DEAD_LETTERS_MAX", 3)
    async with one_daemon() as (fleet, at):
        at.source.assign()
        at.source.produce(*(b"k" for _ in range(30)))
        await asyncio.sleep(5.0)
        fleet.poison = {15}
        await fleet.replay()
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 1, 2, *range(2, 16)]
        assert fleet.dead_letters()[-1] == (15, "rejected", 1)
        fleet.poison = ()
        await fleet.replay("r2")
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 1, 2, *range(2, 16), *range(15, 30)]
        assert not fleet.blocked()


async def test_many_blocked_keys_are_replayed_side_by_side() -> None:
    fleet = Fleet()
    keys = [b"%d" % number for number in range(50)]
    fleet.poison = set(range(50))
    async with fleet.daemon() as at:
        at.source.assign()
        at.source.produce(*keys, *keys, *keys)
        await asyncio.sleep(5.0)
        assert at.pipeline.statistics().blocked_keys == 50
        fleet.poison = {7}
        at.adapter.takes_s = 1.0
        await fleet.replay()
        await asyncio.sleep(30.0)
        assert at.pipeline.statistics().blocked_keys == 1
        assert fleet.blocked(b"7")
        assert all(fleet.of(key) == [n, n, n + 50, n + 100] for n, key in enumerate(keys) if n != 7)
        assert fleet.of(b"7") == [7, 7]


async def test_a_key_is_let_go_when_the_control_topic_is_there_again() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, at):
        fleet.poison = ()
        await fleet.replay()
        fleet.topic.down = True
        await asyncio.sleep(5.0)
        at.source.produce(b"k")
        await asyncio.sleep(10.0)
        assert fleet.of(b"k")[-1] == 5
        fleet.topic.down = False
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5, 6]
        assert not fleet.blocked()


async def test_a_busy_held_key_does_not_hold_up_the_others() -> None:
    """Records of the key follow in runs: with a write of 0.1 s each, one at a time would take 100 s."""
    async with one_daemon(poison={0}, records_max=100) as (fleet, at):
        at.sink.takes_s = 0.1
        at.source.assign()
        at.source.produce(*(b"k" for _ in range(1_000)), *OTHERS)
        await asyncio.sleep(10.0)
        assert at.committed() == 1_000 + len(OTHERS)
        assert [offset for offset, _, _ in fleet.dead_letters()] == list(range(1_000))
        assert fleet.of(b"k") == [0]


async def test_a_kill_right_after_a_key_was_let_go_brings_nothing_old_behind_what_is_live() -> None:
    """Settled work is durable before the key is released, or the next owner would send it as dead letters of a free key."""
    fleet = Fleet()
    async with fleet.daemon(commit_interval_s=5.0) as first:
        await fed(first, *ONE_KEY, wait_s=11.0)
        fleet.poison = ()
        await fleet.replay()
        while fleet.blocked():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        first.source.produce(b"k")
        await asyncio.sleep(0.2)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5, 6]
        fleet.topic.follow_no_more()
        fleet.topic.down = True  # it is killed: what it says is heard by nobody
        first.source.commit_error = KafkaUnavailable("gone")
        async with fleet.daemon(commit=first) as at:
            fleet.topic.down = False
            at.source.assign(epoch=2)
            await asyncio.sleep(20.0)
            assert fleet.of(b"k") in ([0, 2, 2, 3, 5, 6], [0, 2, 2, 3, 5, 6, 6])


async def test_a_dead_letter_that_was_written_twice_before_its_key_was_held_breaks_no_order() -> None:
    """The owner was killed between the dead letter and the entry: the first copy comes before the key's dead letters."""
    async with one_daemon(*ONE_KEY) as (fleet, at):
        rows = fleet.log.rows[0]
        fleet.log.rows[0] = [rows[0], *(replace(row, offset=row.offset + 1) for row in rows)]
        (queue,) = at.queues
        queue.blocked[b"k"] = replace(queue.blocked[b"k"], dead_letter_offset=1)
        fleet.poison = ()
        await fleet.replay()
        await asyncio.sleep(10.0)
        came = fleet.of(b"k")[2:]
        assert came == sorted(came)
        assert set(came) == {2, 3, 5}
        assert not fleet.blocked()


async def test_a_dead_letter_topic_recreated_keeps_no_key_held_for_ever() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, at):
        (queue,) = at.queues
        queue.blocked[b"k"] = replace(queue.blocked[b"k"], dead_letter_offset=1_000)
        at.source.produce(b"k")
        await asyncio.sleep(5.0)
        fleet.poison = ()
        await fleet.replay()
        await asyncio.sleep(20.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5, 6]
        assert not fleet.blocked()
        assert [offset for offset, _, _ in fleet.dead_letters()] == [2, 3, 5, 6], (
            "none of them went there and back again"
        )


async def test_a_key_that_comes_to_be_held_under_a_replay_hides_nothing_that_died_before() -> None:
    """Dead letters before the one that blocks the key are not taken for those of a recreated topic."""
    async with one_daemon(b"z", b"k", b"k", poison={0, 1}) as (fleet, at):
        await at.pipeline.blocked.release(at.queues[0], b"k")
        await fleet.replay(rate_max_per_s=0.5, filter=DeadLetterFilter(dispositions=frozenset(Disposition)))
        await asyncio.sleep(20.0)
        assert fleet.dead_letters() == [(1, "rejected", 0), (2, "blocked", 0), (1, "rejected", 1), (2, "blocked", 0)]
        fleet.poison = ()
        await fleet.replay("r2")
        await asyncio.sleep(20.0)
        assert (fleet.of(b"z"), fleet.of(b"k")) == ([0, 0, 0], [1, 1, 1, 2])


@pytest.mark.parametrize("dispositions", [frozenset(), frozenset({Disposition.REJECTED})])
async def test_a_key_whose_dead_letters_have_all_expired_is_let_go(dispositions: frozenset[Disposition]) -> None:
    async with one_daemon(*ONE_KEY) as (fleet, at):
        fleet.log.rows[0].append(replace(fleet.log.rows[0][-1], offset=3, key=b"another", headers=()))
        fleet.log.starts[0] = 3
        await fleet.replay(filter=DeadLetterFilter(dispositions=dispositions))
        await asyncio.sleep(10.0)
        assert not fleet.blocked()
        at.source.produce(b"k")
        await asyncio.sleep(1.0)
        assert fleet.of(b"k") == [0, 2, 6]


async def test_a_removal_whose_answer_is_lost_is_written_over_if_nobody_asks_again() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, at):
        (queue,) = at.queues
        fleet.topic.lost_answers = 1
        with pytest.raises(ControlUnavailable):
            await at.pipeline.blocked.release(queue, b"k")
        assert b"k" in queue.blocked
        await asyncio.sleep(2.0)
        assert fleet.blocked()


async def test_what_a_former_owner_wrote_before_a_write_of_ours_is_seen_although_it_is_read_after() -> None:
    async with one_daemon(*ONE_KEY, poison={2, 7}) as (fleet, at):
        fleet.topic.echo_s = 3.0
        fleet.topic.put(fleet.entity(), None)  # late, and read only after the next write of ours
        at.source.produce(b"z", b"z")
        await asyncio.sleep(1.0)
        assert fleet.blocked(b"z")
        await asyncio.sleep(10.0)
        assert fleet.blocked()
        assert fleet.blocked(b"z")


async def test_other_records_of_the_same_offset_are_no_copies() -> None:
    """The source topic was recreated, and the key blocked in both."""
    async with one_daemon(*ONE_KEY) as (fleet, _):
        rows = fleet.log.rows[0]
        rows.append(replace(rows[1], offset=3, value=b"another record"))
        fleet.poison = ()
        await fleet.replay()
        await asyncio.sleep(10.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 3, 5]


async def test_a_key_that_is_paused_under_its_replay_keeps_no_other_held() -> None:
    async with one_daemon(b"a", b"b", b"a", b"b", poison={0, 1}) as (fleet, at):
        fleet.poison = ()
        at.pipeline.writer.concurrency_max = 0  # both are sent, and neither is out
        await fleet.replay()
        await asyncio.sleep(1.0)
        at.pipeline.controls.set_pauses([pause_of(b"a")])
        at.pipeline.writer.concurrency_max = 10
        at.pipeline.writer.wake()
        await asyncio.sleep(60.0)
        assert fleet.blocked(b"a")
        assert not fleet.blocked(b"b")
        at.pipeline.controls.set_pauses([])
        await asyncio.sleep(30.0)
        assert not fleet.blocked(b"a")
        assert (fleet.of(b"a"), fleet.of(b"b")) == ([0, 0, 2], [1, 1, 3])


async def test_a_control_topic_recreated_is_told_what_is_held() -> None:
    async with one_daemon(*ONE_KEY) as (fleet, at):
        (queue,) = at.queues
        fleet.topic.put(fleet.entity(), None)
        at.pipeline.blocked.on_recreated()
        await asyncio.sleep(2.0)
        assert fleet.blocked()
        assert b"k" in queue.blocked


async def test_the_lane_of_a_held_key_says_so() -> None:
    async with one_daemon(*ONE_KEY) as (_, at):
        at.pipeline.writer.stop()
        at.source.produce(b"k", b"k")
        await asyncio.sleep(1.0)
        seen = [view async for views in lanes_of(at.pipeline, Scope("billing")) for view in views]
        assert [(view.state, view.records) for view in seen] == [(LaneState.BLOCKED, 2)]
