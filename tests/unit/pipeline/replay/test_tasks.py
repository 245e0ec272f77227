"""Replays over a whole pipeline between doubles, in virtual time: kills, handovers, bounds and what is remembered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from mpsd.core.dead_letter_record import DeadLetterFilter
from mpsd.core.delivery import Delivery
from mpsd.core.outcome import DELIVERED, Outcome
from mpsd.core.record import TopicPartition
from mpsd.core.replay import ReplayPlan, ReplayState, ReplayTarget, ReplayTask
from mpsd.core.replay_progress import Counts
from mpsd.errors import DeadLetterTopicGone, KafkaUnavailable
from mpsd.pipeline.replay.tasks import SPEED_S
from tests.fakes.control import FakeControlTopic
from tests.fakes.pipeline import Piped, piped
from tests.fakes.records import FAILED, POISON, Row
from tests.fakes.replays import SENDER, FakeDeadLetterLog, FakeRepublisher, dead_letter, replaying
from tests.fakes.stage import policy_rules

INTERVAL_S = 1.0
KEYS = [b"%d" % number for number in range(10)]


def dead_letters(count: int, **said: Any) -> list[Row]:
    """Return dead letters of ten keys, in turn."""
    return [dead_letter(number, 100 + number, KEYS[number % len(KEYS)], **said) for number in range(count)]


class Fleet:
    """Topics that daemons share, and the records that came to the application."""

    def __init__(self, *rows: Row, partitions: int = 1) -> None:
        self.log = FakeDeadLetterLog(*rows, partitions=partitions)
        self.topic = FakeControlTopic()
        self.republisher = FakeRepublisher()
        self.seen: list[tuple[str | None, bytes | None, int]] = []
        self.outcome: Outcome | None = DELIVERED
        self.replayed_bytes_max = 262_144

    @asynccontextmanager
    async def daemon(self, **changes: Any) -> AsyncIterator[Piped]:
        means = replaying(self.log, self.republisher, self.topic, replayed_bytes_max=self.replayed_bytes_max)
        async with piped(replaying=means, **{"commit_interval_s": INTERVAL_S, **changes}) as at:
            at.adapter.answer = self._answer
            self.topic.follow(at.pipeline)
            yield at

    def _answer(self, delivery: Delivery) -> Outcome | None:
        record = delivery.record
        self.seen.append((delivery.replay, record.key, record.offset))
        return self.outcome

    async def start(self, name: str = "r1", sources: int = 1, **plan: Any) -> ReplayTask:
        bounds = [each for _, each in sorted((await self.log.bounds()).items())]
        task = ReplayTask(
            id=name, group="billing", subscription="billing", plan=ReplayPlan(**plan), bounds=bounds,
            sources={"orders": sources}, state=ReplayState.RUNNING, reason="", started_at_ms=1, ended_at_ms=None,
            topic_id=self.log.topic_id,
        )  # fmt: skip
        self.topic.put(task.key, task.document())
        return task

    def turn(self, task: ReplayTask, state: ReplayState) -> None:
        """Change the state of a task, as an operator would."""
        self.topic.put(task.key, replace(task, state=state).document())

    def offsets(self, task: str = "r1") -> list[int]:
        return [offset for replay, _, offset in self.seen if replay == task]


def counts(at: Piped, task: str = "r1") -> Counts:
    assert at.pipeline.replays is not None
    book = at.pipeline.replays.book
    return book.total(book.tasks[task]).counts


def state(at: Piped, task: str = "r1") -> ReplayState:
    assert at.pipeline.replays is not None
    return at.pipeline.replays.book.tasks[task].state


async def test_dead_letters_are_delivered_as_they_were_and_nothing_is_committed_of_them() -> None:
    fleet = Fleet(*dead_letters(25))
    async with fleet.daemon() as at:
        at.source.produce(*KEYS)
        at.source.assign()
        await fleet.start()
        await asyncio.sleep(5.0)
        assert sorted(fleet.offsets()) == list(range(100, 125))
        assert len(fleet.seen) == 25 + len(KEYS)
        assert counts(at) == Counts(matched=25, sent=25, succeeded=25)
        assert state(at) is ReplayState.DONE
        assert at.committed() == len(KEYS)
        assert [queue.bytes for queue in at.queues] == [0]
        task = fleet.topic.state.get(("billing", "replay", "billing", "r1"))
        assert task is not None
        assert task.document["ended_at_ms"]


async def test_one_of_a_key_at_a_time_and_in_order_also_beside_live_records() -> None:
    fleet = Fleet(*[dead_letter(number, 100 + number, b"k") for number in range(5)])
    async with fleet.daemon() as at:
        at.adapter.takes_s = 0.5  # the adapter itself complains of an overlap
        at.source.assign()
        await fleet.start()
        await asyncio.sleep(1.2)
        at.source.produce(b"k", b"k")
        await asyncio.sleep(6.0)
        assert [offset for _, key, offset in fleet.seen if key == b"k"] == [100, 101, 102, 103, 104, 0, 1]


async def test_what_does_not_match_is_passed_by() -> None:
    rows = [
        dead_letter(0, 100),
        dead_letter(1, 101, last=FAILED),
        dead_letter(2, 102, partition=1),
        Row(topic="orders.dlq", offset=3, headers=[("stranger", b"1")]),
        dead_letter(4, 104, sender=replace(SENDER, subscription="audit")),
        dead_letter(5, 105, replays=3),
        dead_letter(6, 106),
    ]
    fleet = Fleet(*rows)
    async with fleet.daemon() as at:
        at.source.assign()
        await fleet.start(sources=2, filter=DeadLetterFilter(statuses=frozenset({422})))
        await asyncio.sleep(3.0)
        assert fleet.offsets() == [100, 106]
        await fleet.start("r2", sources=2, include_quarantined=True)
        await asyncio.sleep(3.0)
        assert fleet.offsets("r2") == [101, 105], "and what was replayed before is not offered again"
        await fleet.start("r3", sources=2, again=True)
        await asyncio.sleep(3.0)
        assert fleet.offsets("r3") == [100, 101, 106]


async def test_one_that_fails_again_is_dead_once_more_and_its_old_copy_is_settled() -> None:
    fleet = Fleet(dead_letter(0, 100, replays=1))
    fleet.outcome = POISON
    async with fleet.daemon() as at:
        at.source.assign()
        await fleet.start()
        await asyncio.sleep(3.0)
        assert counts(at) == Counts(matched=1, sent=1, failed=1)
        [dead] = at.sink.dead_letters
        said = dict(dead.headers)
        assert (said["mps-dlq-replays"], said["__dlq.errors.offset"]) == (b"2", b"100")
        assert list(dead.delivery.record.headers) == [("own", b"1")]
        await fleet.start("r2")
        await asyncio.sleep(3.0)
        assert fleet.offsets("r2") == []


async def test_attempts_start_anew_and_age_does_not_matter() -> None:
    fleet = Fleet(dead_letter(0, 100))
    fleet.outcome = FAILED
    async with fleet.daemon(rules=policy_rules(attempts_max=3, record_age_max_s=0.001)) as at:
        at.source.assign()
        await fleet.start()
        await asyncio.sleep(60.0)
        assert [started.attempt for started in at.adapter.started] == [1, 2, 3]


@pytest.mark.parametrize("killed_s", [1.5, 2.05, 3.2, 4.999, 6.5])
async def test_a_kill_repeats_a_commit_interval_s_worth_at_most_and_skips_nothing(killed_s: float) -> None:
    fleet = Fleet(*dead_letters(400))
    async with fleet.daemon() as at:
        at.adapter.takes_s = 0.1
        at.adapter.concurrency_max = 5  # 50 a second
        at.source.assign(epoch=1)
        await fleet.start()
        await asyncio.sleep(killed_s)
        fleet.topic.down = True  # whatever it would still say is not heard
        before = list(fleet.offsets())
        at.source.lease_s = 0.0
    fleet.topic.down = False
    fleet.topic.follow_no_more()
    async with fleet.daemon() as at:
        at.source.assign(epoch=2)
        await asyncio.sleep(30.0)
        times = Counter(fleet.offsets())
        assert set(times) == set(range(100, 500))
        repeated = sum(count - 1 for count in times.values())
        assert repeated <= 50 * INTERVAL_S + 5 + 5, f"{repeated} of {len(before)}"
        assert state(at) is ReplayState.DONE
        for key in KEYS:
            firsts = list(dict.fromkeys(offset for _, each, offset in fleet.seen if each == key))
            assert firsts == sorted(firsts)


async def test_a_handover_repeats_nothing() -> None:
    fleet = Fleet(*dead_letters(200))
    async with fleet.daemon() as one, fleet.daemon() as other:
        one.adapter.takes_s = other.adapter.takes_s = 0.1
        one.adapter.concurrency_max = 5
        first = one.source.assign(epoch=1)
        await fleet.start()
        await asyncio.sleep(1.73)
        one.source.listener.on_leaving(first)
        await asyncio.sleep(0.5)
        assert one.source.released == [first]
        other.source.assign(epoch=2)
        await asyncio.sleep(30.0)
        assert Counter(fleet.offsets()) == Counter(range(100, 300))
        assert counts(other) == counts(one) == Counts(matched=200, sent=200, succeeded=200)
        assert state(one) is state(other) is ReplayState.DONE


async def test_a_partition_that_may_stay_after_all_goes_on_and_repeats_nothing() -> None:
    fleet = Fleet(*dead_letters(200))
    async with fleet.daemon() as at:
        at.adapter.takes_s = 0.2
        at.adapter.concurrency_max = 5
        assignment = at.source.assign()
        await fleet.start()
        await asyncio.sleep(1.55)
        at.source.listener.on_leaving(assignment)
        await asyncio.sleep(0.05)
        at.source.listener.on_stays(assignment)
        await asyncio.sleep(60.0)
        assert Counter(fleet.offsets()) == Counter(range(100, 300))
        assert state(at) is ReplayState.DONE


async def test_the_rate_is_a_total_of_the_fleet() -> None:
    fleet = Fleet(*dead_letters(100))
    async with fleet.daemon() as at:
        at.source.listener.on_share(0.5)
        at.source.assign()
        await fleet.start(rate_max_per_s=20.0)
        await asyncio.sleep(1.0 + 3.0)
        assert 28 <= len(fleet.offsets()) <= 34
        at.source.listener.on_share(1.0)
        await asyncio.sleep(1.0)
        assert 46 <= len(fleet.offsets()) <= 58


async def test_a_fast_rate_is_kept_in_small_groups_and_nothing_else_wakes_it() -> None:
    fleet = Fleet(*[dead_letter(number, 100 + number, b"%d" % number) for number in range(4_000)])
    async with fleet.daemon() as at:
        at.adapter.takes_s = 0.0137
        at.source.assign()
        await fleet.start(rate_max_per_s=1_000.0)
        await asyncio.sleep(5.2)
        assert len(fleet.offsets()) == 4_000
        moments = sorted({started.at_s for started in at.adapter.started})
        assert len(moments) <= 4.2 / 0.02
        assert max(later - sooner for sooner, later in pairwise(moments)) < 0.1


async def test_a_paused_replay_sends_nothing_and_goes_on_where_it_was() -> None:
    fleet = Fleet(*dead_letters(100))
    async with fleet.daemon() as at:
        at.source.assign()
        task = await fleet.start(rate_max_per_s=20.0)
        await asyncio.sleep(2.5)
        fleet.turn(task, ReplayState.PAUSED)
        await asyncio.sleep(1.5)
        sent = len(fleet.offsets())
        await asyncio.sleep(20.0)
        assert len(fleet.offsets()) == sent < 60
        fleet.turn(task, ReplayState.RUNNING)
        await asyncio.sleep(20.0)
        assert Counter(fleet.offsets()) == Counter(range(100, 200))


async def test_a_cancelled_replay_settles_what_it_sent_and_gives_way_to_the_next() -> None:
    fleet = Fleet(*dead_letters(100))
    async with fleet.daemon() as at:
        at.source.assign()
        task = await fleet.start(rate_max_per_s=10.0)
        await fleet.start("r2")
        await asyncio.sleep(2.5)
        assert not fleet.offsets("r2")
        fleet.turn(task, ReplayState.CANCELLED)
        await asyncio.sleep(20.0)
        assert Counter(fleet.offsets("r1") + fleet.offsets("r2")) == Counter(range(100, 200))
        assert state(at) is ReplayState.CANCELLED
        assert state(at, "r2") is ReplayState.DONE


async def test_it_never_chases_its_own_tail() -> None:
    fleet = Fleet(*dead_letters(3))
    async with fleet.daemon() as at:
        await fleet.start()
        fleet.log.rows[0] += [dead_letter(3, 103), dead_letter(4, 104)]
        at.source.assign()
        await asyncio.sleep(5.0)
        assert fleet.offsets() == [100, 101, 102]


async def test_what_retention_took_is_counted() -> None:
    fleet = Fleet(*dead_letters(10))
    async with fleet.daemon() as at:
        await fleet.start()
        fleet.log.starts[0] = 4
        at.source.assign()
        await asyncio.sleep(5.0)
        assert fleet.offsets() == [104, 105, 106, 107, 108, 109]
        assert counts(at).expired == 4
        assert state(at) is ReplayState.DONE


async def test_what_is_remembered_is_clipped_to_what_the_topic_has() -> None:
    fleet = Fleet(*[dead_letter(2 * number, 100 + number) for number in range(100)])
    key = ("billing", "replayed", "billing", "orders", "0", "0")
    async with fleet.daemon() as at:
        at.source.assign()
        await fleet.start()
        await asyncio.sleep(5.0)
        before = fleet.topic.state.get(key)
        fleet.log.starts[0] = 190
        await fleet.start("r2")
        await asyncio.sleep(5.0)
        after = fleet.topic.state.get(key)
        assert before is not None
        assert after is not None
        assert (before.document["base"], after.document["base"]) == (0, 190)
        assert len(after.document["offsets"]) < len(before.document["offsets"])
        assert state(at, "r2") is ReplayState.DONE


async def test_how_fast_it_goes_and_how_long_it_will_take() -> None:
    fleet = Fleet(*dead_letters(200))
    async with fleet.daemon() as at:
        at.source.assign()
        task = await fleet.start(rate_max_per_s=10.0)
        assert at.pipeline.replays is not None
        assert at.pipeline.replays.speed(task) == (0.0, None), "nobody knows yet"
        await asyncio.sleep(10.0)
        sent_per_s, left_s = at.pipeline.replays.speed(task)
        assert sent_per_s == pytest.approx(10.0, rel=0.2)
        assert left_s == pytest.approx((200 - len(fleet.offsets())) / 10.0, rel=0.3)
        at.pipeline.replays.on_share(0.1)
        await asyncio.sleep(SPEED_S + 2.0)
        sent_per_s, _ = at.pipeline.replays.speed(task)
        assert sent_per_s == pytest.approx(1.0, rel=0.2), "and what is long ago does not count"
        fleet.turn(task, ReplayState.PAUSED)
        await asyncio.sleep(2.0)
        assert at.pipeline.replays.speed(task) == (0.0, None)


async def test_a_topic_that_is_gone_fails_the_replay_and_nothing_else() -> None:
    fleet = Fleet(*dead_letters(10))
    async with fleet.daemon() as at:
        fleet.log.error = None
        await fleet.start()
        fleet.log.error = DeadLetterTopicGone("it was deleted")
        at.source.produce(*KEYS)
        at.source.assign()
        await asyncio.sleep(5.0)
        assert state(at) is ReplayState.FAILED
        assert at.committed() == len(KEYS)
        assert at.pipeline.state == "running"


async def test_a_topic_that_was_recreated_meanwhile_fails_the_replay() -> None:
    """The new topic may have as many dead letters as the old one had, but they are not meant, and none was replayed."""
    fleet = Fleet(*dead_letters(40))
    fleet.log.topic_id, fleet.log.records_max = "old", 5
    async with fleet.daemon() as at:
        at.source.assign()
        done = await fleet.start("r0")
        await asyncio.sleep(5.0)
        assert state(at, "r0") is ReplayState.DONE
        task = await fleet.start(rate_max_per_s=10.0, again=True)
        await asyncio.sleep(1.0)
        sent = len(fleet.offsets())
        fleet.log.topic_id = "new"
        await asyncio.sleep(10.0)
        assert state(at) is ReplayState.FAILED
        assert at.pipeline.replays is not None
        assert "recreated" in at.pipeline.replays.book.tasks[task.id].reason
        fleet.seen.clear()
        assert sent < 40
        await fleet.start("r2")
        await asyncio.sleep(5.0)
        assert sorted(fleet.offsets("r2")) == list(range(100, 140)), (
            "what was settled of the old topic says nothing of the new"
        )
        assert done.topic_id == "old"


async def test_trouble_with_kafka_is_waited_for() -> None:
    fleet = Fleet(*dead_letters(10))
    async with fleet.daemon() as at:
        task = await fleet.start()
        fleet.log.error = KafkaUnavailable("away")
        fleet.topic.down = True
        at.source.assign()
        await asyncio.sleep(5.0)
        assert at.pipeline.replays is not None
        assert at.pipeline.replays.waiting(task) == "waits: away"
        fleet.log.error, fleet.topic.down = None, False
        await asyncio.sleep(5.0)
        assert at.pipeline.replays.waiting(task) == ""
        assert fleet.offsets() == list(range(100, 110))
        assert state(at) is ReplayState.DONE


async def test_no_more_than_a_bound_is_outstanding() -> None:
    fleet = Fleet(*[dead_letter(number, 100 + number, b"k") for number in range(2_000)])
    fleet.outcome = None
    async with fleet.daemon() as at:
        at.source.assign()
        await fleet.start()
        await asyncio.sleep(5.0)
        assert len(at.queues[0].replayed) == 500
    fleet = Fleet(*dead_letters(100))
    fleet.outcome = None
    async with fleet.daemon(bytes_max=10_000) as at:
        at.source.assign()
        await fleet.start()
        await asyncio.sleep(5.0)
        assert 1 < at.queues[0].bytes <= 10_000


async def test_what_is_remembered_has_a_bound_at_which_the_replay_fails() -> None:
    rows = [dead_letter(2 * number, 100 + number) for number in range(4_000)]
    fleet = Fleet(*rows)
    fleet.replayed_bytes_max = 100
    async with fleet.daemon() as at:
        at.source.assign()
        await fleet.start(rate_max_per_s=500.0)
        await asyncio.sleep(20.0)
        assert state(at) is ReplayState.FAILED
        assert at.pipeline.replays is not None
        assert "replayed_bytes_max" in at.pipeline.replays.book.tasks["r1"].reason
    fleet.topic.follow_no_more()
    async with fleet.daemon() as at:
        assert at.pipeline.replays is not None
        assert at.pipeline.replays.book.settled_bytes[TopicPartition("orders", 0), 0] > 100, "so a new one is refused"
        at.source.assign(epoch=2)
        await fleet.start("r2")
        await asyncio.sleep(5.0)
        assert state(at, "r2") is ReplayState.FAILED
        assert not set(fleet.offsets("r2")) & set(fleet.offsets()), "what was settled beyond the bound is known too"


async def test_back_into_the_topic_it_counts_once_it_is_acknowledged() -> None:
    fleet = Fleet(*dead_letters(300))
    fleet.republisher.errors = [KafkaUnavailable("away")] * 2
    async with fleet.daemon() as at:
        at.source.assign()
        await fleet.start(target=ReplayTarget.TOPIC)
        await asyncio.sleep(10.0)
        assert fleet.seen == []
        assert [delivery.record.offset for delivery in fleet.republisher.written] == list(range(100, 400))
        assert counts(at) == Counts(matched=300, sent=300, succeeded=300)
        assert state(at) is ReplayState.DONE


async def test_many_source_partitions_share_a_dead_letter_partition() -> None:
    rows = [dead_letter(n, 100 + n, KEYS[n % 10], partition=n % 3) for n in range(60)]
    fleet = Fleet(*rows)
    async with fleet.daemon() as one, fleet.daemon() as other:
        one.source.assign(0)
        one.source.assign(1)
        other.source.assign(2)
        await fleet.start(sources=3)
        await asyncio.sleep(5.0)
        assert Counter(fleet.offsets()) == Counter(range(100, 160))
        assert state(one) is state(other) is ReplayState.DONE
        assert counts(one).succeeded == 60


async def test_a_report_of_an_older_owner_changes_nothing_and_is_written_over() -> None:
    fleet = Fleet(*dead_letters(20))
    async with fleet.daemon() as at:
        at.source.assign(epoch=5)
        task = await fleet.start()
        await asyncio.sleep(3.0)
        assert state(at) is ReplayState.DONE
        key = ("billing", "replay-progress", "billing", "r1", "orders", "0")
        known = fleet.topic.state.get(key)
        assert known is not None
        fleet.topic.put(key, {**known.document, "epoch": 4, "next_offset": 0, "done": False, "counts": {}})
        assert counts(at).succeeded == 20
        await asyncio.sleep(2.0)
        again = fleet.topic.state.get(key)
        assert again is not None
        assert (again.document["epoch"], again.document["counts"]["succeeded"]) == (5, 20)
        assert at.pipeline.replays is not None
        assert at.pipeline.replays.book.report(task.id, TopicPartition("orders", 0)) is not None


async def test_a_handover_that_is_called_off_while_it_halts_a_replay_is_called_off() -> None:
    fleet = Fleet(*dead_letters(25))
    fleet.outcome = None
    async with fleet.daemon() as at:
        assignment = at.source.assign()
        await fleet.start()
        await asyncio.sleep(3.0)
        replays = at.pipeline.replays
        assert replays is not None
        leaving = asyncio.create_task(replays.hand_on(assignment, 60.0))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving], timeout=5.0)
        assert leaving.cancelled()


async def test_dead_letters_of_partitions_that_exist_no_more_are_given_to_an_owner() -> None:
    """The topic had four partitions, and was made again with one."""
    rows = [dead_letter(0, 100 + number, KEYS[number], partition=number, number=number) for number in range(4)]
    fleet = Fleet(*rows, dead_letter(1, 900, KEYS[9], partition=9, number=1), partitions=4)
    async with fleet.daemon() as at:
        at.source.assign()
        await fleet.start()
        await asyncio.sleep(10.0)
        assert sorted(fleet.offsets()) == [100, 101, 102, 103, 900]
        assert counts(at) == Counts(matched=5, sent=5, succeeded=5)
        assert state(at) is ReplayState.DONE
        assert at.pipeline.replays is not None
        book = at.pipeline.replays.book
        assert all(book.is_settled(number, 0) for number in range(4))
        await fleet.start("r2")
        await asyncio.sleep(10.0)
        assert state(at, "r2") is ReplayState.DONE
        assert fleet.offsets("r2") == [], "what was replayed is not offered again"
        await fleet.start("r3", sources=4)
        await asyncio.sleep(5.0)
        assert state(at, "r3") is ReplayState.RUNNING, "nobody has the other partitions"


async def test_each_stranger_has_one_owner_where_partitions_share_a_dead_letter_partition() -> None:
    rows = [dead_letter(number, 100 + number, KEYS[number], partition=number) for number in range(6)]
    fleet = Fleet(*rows)
    async with fleet.daemon() as one, fleet.daemon() as other:
        one.source.assign(0)
        other.source.assign(1)
        await fleet.start(sources=2)
        await asyncio.sleep(5.0)
        assert sorted(fleet.offsets()) == list(range(100, 106))
        assert state(one) is ReplayState.DONE


async def test_a_topic_that_is_not_read_any_more_gets_nothing_back() -> None:
    row = dead_letter(0, 100)
    row.headers = [(name, b"bills" if name == "__dlq.errors.topic" else value) for name, value in row.headers]
    fleet = Fleet(row)
    async with fleet.daemon() as at:
        at.source.assign()
        await fleet.start(target=ReplayTarget.TOPIC)
        await asyncio.sleep(5.0)
        assert state(at) is ReplayState.FAILED
        assert not fleet.republisher.written
        await fleet.start("r2")
        await asyncio.sleep(5.0)
        assert state(at, "r2") is ReplayState.DONE
        assert fleet.offsets("r2") == [100], "the application gets it"
