"""Dead letters and skips over real channels."""

from dataclasses import replace

import grpc
import pytest

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.dead_letter_pages import DeadLetters
from mpsd.admin.refusals import NotFound
from mpsd.core.dead_letter import Sender, headers
from mpsd.core.delivery import FailureHistory
from mpsd.core.offset_set import OffsetSet
from mpsd.core.offset_tracker import Run
from mpsd.core.replay_progress import REPLAYED, replayed
from mpsd.core.retry import DeadLetterRequest, Disposition
from tests.fakes.records import FAILED, POISON, Row, assigned, delivery
from tests.fakes.replays import FakeDeadLetterLog
from tests.fakes.steerable import served
from tests.unit.admin.test_servicer import change, hold, refused

SENDER = Sender(subscription="billing", group="billing", endpoint="http://billing:8000/orders")


def written(number: int, *, partition: int = 0, reason: str = "no such customer", at_ms: int = 0) -> Row:
    """Return the dead letter of orders/0 or orders/1 at offset `number` of its partition."""
    dead = delivery(number, b"k%d" % (number % 3), assigned(partition))
    dead.failures = FailureHistory(attempts=1, last=POISON)
    added = headers(dead, DeadLetterRequest(disposition=Disposition.REJECTED, reason=reason), SENDER)
    return Row(
        topic="dlq",
        partition=partition,
        offset=number,
        timestamp=at_ms or 1_000_000 + number * 10 + partition,
        key=b"k%d" % (number % 3),
        value=b"v",
        headers=added,
    )


async def test_they_are_listed_from_the_newest_back_over_all_partitions_and_pages() -> None:
    async with served() as (one,):
        one.daemon.dead_letter_records = [written(number, partition=each) for each in (0, 1) for number in range(700)]
        listed, token = [], ""
        while True:
            asked = pb.ListDeadLettersRequest(subscription="billing", page_size=300, page_token=token)
            answer = await one.stub.ListDeadLetters(asked)
            listed += [(each.source.offset, each.source.partition) for each in answer.dead_letters]
            if not (token := answer.next_page_token):
                break
        assert listed == [(number, each) for number in reversed(range(700)) for each in (1, 0)]


async def test_only_those_that_match_are_listed_and_counted() -> None:
    async with served() as (one,):
        one.daemon.dead_letter_records = [
            written(number, reason="odd" if number % 2 else "even") for number in range(50)
        ]
        wanted = pb.DeadLetterFilter(reason_contains="ODD")
        answer = await one.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="billing", filter=wanted))
        assert [each.source.offset for each in answer.dead_letters] == list(reversed(range(1, 50, 2)))
        counted = await one.stub.SummarizeDeadLetters(pb.SummarizeDeadLettersRequest(subscription="billing"))
        assert [(group.records, group.name) for group in counted.groups] == [
            (25, "rejected 422: even"),
            (25, "rejected 422: odd"),
        ]
        by_key = pb.SummarizeDeadLettersRequest(
            subscription="billing", grouping=pb.DEAD_LETTER_GROUPING_KEY, groups_max=1
        )
        counted = await one.stub.SummarizeDeadLetters(by_key)
        assert ([(each.name, each.records) for each in counted.groups], counted.other_records) == ([("k0", 17)], 33)
        assert not counted.incomplete


@pytest.mark.parametrize(("topic", "partition"), [("order", None), ("orders", 4)])
async def test_a_place_that_is_not_there_is_not_just_without_dead_letters(topic: str, partition: int | None) -> None:
    place = pb.DeadLetterFilter(topic=topic, partition=partition)
    async with served() as (one,):
        plan = pb.ReplayPlan(subscription="billing", filter=place)
        for call in (
            one.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="billing", filter=place)),
            one.stub.SummarizeDeadLetters(pb.SummarizeDeadLettersRequest(subscription="billing", filter=place)),
            one.stub.PreviewReplay(pb.PreviewReplayRequest(plan=plan)),
            one.stub.StartReplay(pb.StartReplayRequest(change=change(), plan=plan)),
            one.stub.Skip(
                pb.SkipRequest(
                    change=change(),
                    subscription="billing",
                    record=pb.RecordRef(topic=topic, partition=partition or 0),
                )
            ),
        ):
            code, words, _, _ = await refused(call)
            assert (code, "orders" in words) == (grpc.StatusCode.NOT_FOUND, True)
        assert not one.daemon.control.changes


async def test_dead_letters_of_a_topic_that_is_subscribed_no_more_are_listed() -> None:
    async with served() as (one,):
        left = written(1)
        left.headers = [(name, b"former" if name == "__dlq.errors.topic" else value) for name, value in left.headers]
        one.daemon.dead_letter_records = [left]
        of_it = pb.DeadLetterFilter(topic="former")
        listed = await one.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="billing", filter=of_it))
        assert [each.source.topic for each in listed.dead_letters] == ["former"]


async def test_the_newest_copy_is_shown_and_what_is_not_there_is_said() -> None:
    async with served() as (one,):
        one.daemon.dead_letter_records = [written(3), replace(written(3), offset=9, timestamp=2_000_000)]
        asked = pb.GetDeadLetterRequest(subscription="billing", source=pb.RecordRef(topic="orders", offset=3))
        answer = await one.stub.GetDeadLetter(asked)
        assert (answer.dead_letter.dead_letter.offset, answer.dead_letter.reason) == (9, "no such customer")
        assert not answer.HasField("value")
        asked.source.offset = 4
        code, words, _, _ = await refused(one.stub.GetDeadLetter(asked))
        assert code == grpc.StatusCode.NOT_FOUND
        assert "no dead letter of orders/0@4" in words


async def test_one_is_looked_for_where_the_daemon_writes_it_and_then_elsewhere() -> None:
    dead_letters = FakeDeadLetterLog(*(written(number, partition=each) for each in (0, 1) for number in range(700)))
    assert (await DeadLetters(dead_letters, "billing").newest_of(pb.RecordRef(topic="orders", partition=1))).offset == 0
    assert set(dead_letters.fetched) == {1}
    dead_letters = FakeDeadLetterLog(replace(written(3), partition=1), written(4))
    # there are more partitions now than then
    assert (
        await DeadLetters(dead_letters, "billing").newest_of(pb.RecordRef(topic="orders", offset=3))
    ).tp.partition == 1
    assert dead_letters.fetched == [0, 1]
    with pytest.raises(NotFound):
        await DeadLetters(FakeDeadLetterLog(), "billing").newest_of(pb.RecordRef(topic="orders", offset=3))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (pb.ListDeadLettersRequest(subscription="billing", page_token="x"), "page_token"),
        (pb.ListDeadLettersRequest(subscription="billing", page_size=1001), "page_size"),
    ],
)
async def test_a_list_that_makes_no_sense_is_named_by_its_field(asked: pb.ListDeadLettersRequest, field: str) -> None:
    async with served() as (one,):
        code, _, _, bad = await refused(one.stub.ListDeadLetters(asked))
        assert (code, bad.field_violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_a_record_is_skipped_by_whoever_has_it_and_once() -> None:
    async with served(2) as (one, other):
        await hold(other, b"a", b"b")
        other.pipe.adapter.answer = lambda _: FAILED
        asked = pb.SkipRequest(
            change=change(), subscription="billing", record=pb.RecordRef(topic="orders", partition=0, offset=0)
        )
        other.pipe.adapter.crash()
        answer = await one.stub.Skip(asked)
        assert answer.dead_letter.topic == "letters"
        assert (await one.stub.Skip(asked)).dead_letter == answer.dead_letter
        ((_, _, said),) = other.daemon.control.changes
        assert (said["method"], said["subscription"]) == ("Skip", "billing")
        asked.change.request_id = "r2"
        code, _, _, _ = await refused(one.stub.Skip(asked))
        assert code == grpc.StatusCode.FAILED_PRECONDITION


async def test_what_a_replay_is_done_with_is_marked_in_lists_counts_and_alone() -> None:
    async with served() as (one,):
        one.daemon.dead_letter_records = [written(number) for number in range(3)]
        key = ("billing", REPLAYED.name, "billing", "orders", "0", "0")
        await one.daemon.control.record([(key, REPLAYED.document(replayed(OffsetSet(0, [Run(0, 2)]), 1)))])
        await one.daemon.control.read_to_end()
        listed = await one.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="billing"))
        assert [each.replayed for each in listed.dead_letters] == [False, True, True]
        (group,) = (await one.stub.SummarizeDeadLetters(pb.SummarizeDeadLettersRequest(subscription="billing"))).groups
        assert (group.records, group.replayed_records, group.sample.replayed) == (3, 2, True)
        for offset, is_replayed in ((1, True), (2, False)):
            source = pb.RecordRef(topic="orders", offset=offset)
            shown = await one.stub.GetDeadLetter(pb.GetDeadLetterRequest(subscription="billing", source=source))
            assert shown.dead_letter.replayed is is_replayed
