import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.control import NOBODY, Entity
from mpsd.core.offset_set import OffsetSet
from mpsd.core.offset_tracker import OffsetTracker, Run
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay_progress import (
    PROGRESS,
    REPLAYED,
    Counts,
    Progress,
    Replayed,
    progress_key,
    replayed,
    replayed_key,
    restored,
    settled_offsets,
    snapshot,
    total,
)
from tests.fakes.records import delivery
from tests.unit.core.test_replay import TASK

DEAD = TopicPartition("orders.dlq", 0)
BOUNDS = LogBounds(3, 9)


KEY = progress_key(TASK, TopicPartition("orders", 2))


def entity(document: Mapping[str, Any]) -> Entity:
    return Entity(document=json.loads(json.dumps(document)), revision=1, provenance=NOBODY)


def reported(**changes: Any) -> Progress:
    said: dict[str, Any] = {"epoch": 2, "next_offset": 3, "map_text": "", "counts": Counts(), "done": False}
    return Progress(**{**said, **changes})


def test_progress_is_read_back_as_it_was_written() -> None:
    made = reported(counts=Counts(matched=4, sent=3, succeeded=2, failed=1, expired=9, left_out=1), done=True)
    assert PROGRESS.parse(KEY, entity(made.document())) == made
    assert PROGRESS.parse(KEY, entity({**made.document(), "epoch": "2"})) is None
    assert PROGRESS.parse(KEY, entity({})) is None


def test_what_is_settled_is_read_back_as_it_was_written() -> None:
    settled = OffsetSet(3, [Run(4, 6)], "a1")
    key = replayed_key("g", "billing", TopicPartition("orders", 2), 0)
    document = REPLAYED.parse(key, entity(REPLAYED.document(replayed(settled, 7))))
    assert document is not None
    found = settled_offsets(document)
    assert found is not None
    assert (document.epoch, found.base, found.runs, found.topic_id) == (7, 3, settled.runs, "a1")
    assert REPLAYED.parse(key, entity({})) is None
    assert settled_offsets(Replayed(epoch=1, base=0, offsets="?")) is None


def test_keys_name_the_source_partition() -> None:
    source = TopicPartition("orders", 2)
    assert progress_key(TASK, source) == ("g", "replay-progress", "billing", "r1", "orders", "2")
    assert replayed_key(TASK.group, TASK.subscription, source, 0) == ("g", "replayed", "billing", "orders", "2", "0")


@given(st.data())
def test_whoever_goes_on_takes_up_exactly_what_is_not_known_to_be_settled(data: st.DataObject) -> None:
    """At any point of crash: nothing is skipped, and nothing that was reported as settled is sent again."""
    start = data.draw(st.integers(0, 5))
    count = data.draw(st.integers(0, 30))
    matching = sorted(data.draw(st.sets(st.integers(start, start + count)))) if count else []
    matching = [offset for offset in matching if offset < start + count]
    bounds = LogBounds(start, start + count)
    before: Progress | None = None
    known: set[int] = set()
    for epoch in range(data.draw(st.integers(1, 3))):
        tracker, counts = restored(before, DEAD, bounds)
        assert counts.succeeded == len(known)
        sent, now = [], set(known)
        read_to = data.draw(st.integers(tracker.end, bounds.end))
        for offset in range(tracker.end, read_to):
            if offset in matching and not (tracker.restored and tracker.was_finished(offset)):
                assert offset not in known, "it was reported as settled"
                tracker.read(offset, delivery(offset))
                sent.append(offset)
            tracker.read_to(offset + 1)
        for offset in data.draw(st.permutations(sent))[: data.draw(st.integers(0, len(sent)))]:
            tracker.finished(offset)
            now.add(offset)
            counts.succeeded += 1
        if data.draw(st.booleans()):
            before = PROGRESS.parse(KEY, entity(snapshot(tracker, DEAD, epoch, counts, bounds.end).document()))
            known = now
    tracker, _ = restored(before, DEAD, bounds)
    left = [o for o in range(tracker.end, bounds.end) if not (tracker.restored and tracker.was_finished(o))]
    assert set(matching) - known <= set(left)
    if before is not None and before.done:
        assert set(matching) <= known


def test_a_report_that_cannot_be_is_recreated() -> None:
    for before in (None, reported(next_offset=2), reported(next_offset=10)):
        tracker, counts = restored(before, DEAD, BOUNDS)
        assert (tracker.end, counts) == (3, Counts())
    tracker, _ = restored(reported(next_offset=5, map_text="of somebody else"), DEAD, BOUNDS)
    assert (tracker.end, tracker.restored) == (5, [])


def test_what_was_on_its_way_counts_again() -> None:
    said = Counts(matched=9, sent=8, succeeded=3, failed=2, left_out=1, expired=4)
    _, counts = restored(reported(counts=said), DEAD, BOUNDS)
    assert counts == Counts(matched=6, sent=5, succeeded=3, failed=2, left_out=1, expired=4)


def test_a_total_sums_up_and_looks_at_a_shared_partition_once() -> None:
    sources = list(TASK.partitions())
    assert total(TASK, {}).left == 6
    reports = {
        sources[0]: reported(next_offset=9, counts=Counts(matched=2, expired=2), done=True),
        sources[1]: reported(next_offset=0, done=True),
    }
    assert total(TASK, reports) == (Counts(matched=2, expired=2), 6, False)
    reports[sources[2]] = reported(next_offset=9, counts=Counts(matched=3, expired=1), done=True)
    assert total(TASK, reports) == (Counts(matched=5, expired=2), 0, True)


def test_a_snapshot_is_done_at_the_bound() -> None:
    tracker = OffsetTracker(3)
    assert not snapshot(tracker, DEAD, 1, Counts(), 9).done
    tracker.read_to(9)
    assert snapshot(tracker, DEAD, 1, Counts(), 9).done


@pytest.mark.parametrize("count", [1, 400])
def test_a_map_of_many_unfinished_fits(count: int) -> None:
    tracker = OffsetTracker(0)
    for offset in range(0, count * 5_000, 5_000):
        tracker.read(offset, delivery(offset))
        tracker.read(offset + 1, delivery(offset + 1))
        tracker.finished(offset + 1)
    progress = snapshot(tracker, DEAD, 1, Counts(), 1 << 40)
    again, _ = restored(progress, DEAD, LogBounds(0, 1 << 40))
    assert len(again.restored) == count
