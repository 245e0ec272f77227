import pytest

from mpsd.core.delivery import Delivery
from mpsd.core.offset_tracker import OffsetTracker, Run, Snapshot, Spread
from tests.fakes.records import delivery


def reading(*offsets: int, begin: int | None = None, attempts: int = 0) -> tuple[OffsetTracker, list[Delivery]]:
    """Return a tracker that has read these offsets."""
    tracker, read = OffsetTracker(offsets[0] if begin is None else begin), []
    for offset in offsets:
        made = delivery(offset, attempts=attempts)
        tracker.read(offset, made)
        read.append(made)
    return tracker, read


def test_the_story_at_the_head_of_the_module() -> None:
    tracker, _ = reading(5, 6, 9, 10)
    assert (tracker.next_offset, tracker.end) == (5, 11)
    tracker.finished(6)
    tracker.finished(10)
    assert tracker.snapshot() == Snapshot(5, (Run(6, 9), Run(10, 11)), ())
    tracker.finished(5)
    assert tracker.snapshot() == Snapshot(9, (Run(10, 11),), ())
    tracker.finished(9)
    assert tracker.snapshot() == Snapshot(11, (), ())


def test_a_log_that_starts_late_does_not_wait_for_what_never_was() -> None:
    tracker, _ = reading(1_000_000, begin=0)
    assert tracker.next_offset == 1_000_000
    tracker.finished(1_000_000)
    assert tracker.next_offset == 1_000_001


def test_a_hole_at_the_end_is_passed_when_it_was_read_over() -> None:
    tracker, _ = reading(0)
    tracker.finished(0)
    tracker.read_to(7)
    assert tracker.next_offset == 7
    tracker.read_to(3)
    assert tracker.next_offset == 7


def test_an_offset_is_finished_once() -> None:
    tracker, _ = reading(0)
    tracker.finished(0)
    with pytest.raises(KeyError):
        tracker.finished(0)


def test_the_oldest_is_what_holds_up_the_commit() -> None:
    tracker, read = reading(0, 1)
    assert tracker.oldest() is read[0]
    tracker.finished(0)
    assert tracker.oldest() is read[1]


def test_what_was_finished_before_is_known_once_and_then_forgotten() -> None:
    tracker = OffsetTracker(5, [Run(0, 3), Run(6, 8), Run(9, 10)])
    assert [tracker.was_finished(offset) for offset in (5, 6, 7, 8, 9, 10)] == [False, True, True, False, True, False]
    assert tracker.restored == []


def test_a_finished_run_and_a_restored_one_that_touch_are_one() -> None:
    tracker = OffsetTracker(5, [Run(7, 8)])
    tracker.read(5, delivery(5))
    tracker.read(6, delivery(6))
    tracker.finished(6)
    assert tracker.snapshot() == Snapshot(5, (Run(6, 8),), ())


def test_a_restored_run_that_was_read_in_part_is_told_once() -> None:
    tracker = OffsetTracker(5, [Run(6, 9)])
    tracker.read(5, delivery(5))
    assert tracker.was_finished(6)
    tracker.read_to(7)
    assert tracker.snapshot() == Snapshot(5, (Run(6, 9),), ())


def test_the_state_changes_with_all_that_a_commit_could_say() -> None:
    tracker, _ = reading(0, 1)
    states = [tracker.state]
    tracker.finished(1)
    states.append(tracker.state)
    tracker.finished(0)
    states.append(tracker.state)
    tracker.read_to(5)
    states.append(tracker.state)
    assert len(set(states)) == 4


def test_a_tracker_shows_what_it_holds() -> None:
    tracker, _ = reading(0, 1)
    assert repr(tracker) == "<OffsetTracker next_offset=0 end=2 unfinished=2>"


def test_attempts_spent_before_are_told_until_their_record_is_read() -> None:
    tracker = OffsetTracker(5, [Run(6, 8)], [(5, 2), (8, 1), (9, 3)])
    assert tracker.snapshot() == Snapshot(5, (Run(6, 8),), ((5, 2), (8, 1), (9, 3)))
    assert tracker.restored_attempts.pop(5) == 2
    tracker.read(5, delivery(5, attempts=2))
    assert tracker.snapshot().attempts == ((5, 2), (8, 1), (9, 3))
    tracker.read(9, delivery(9))
    assert tracker.snapshot().attempts == ((5, 2),), "8 is gone from the log, and whoever read 9 took its attempts"


def test_the_spread_counts_what_is_held_and_what_would_be_read() -> None:
    tracker, _ = reading(5, 6, 9, 10)
    tracker.finished(6)
    assert tracker.spread(11, 14, 2) == Spread(span=9, unfinished=5)
    assert OffsetTracker(5).spread(7, 9, 2) == Spread(span=2, unfinished=2)


def test_the_spread_counts_what_was_restored_and_is_not_read_yet() -> None:
    tracker = OffsetTracker(5, [Run(6, 9), Run(12, 20)])
    assert tracker.restored_end == 20
    assert tracker.spread(5, 6, 1) == Spread(span=15, unfinished=1 + 3)
    tracker.read(5, delivery(5))
    assert tracker.spread(6, 14, 2) == Spread(span=15, unfinished=1 + 2)
    assert tracker.spread(6, 30, 2) == Spread(span=25, unfinished=1 + 2)
    assert OffsetTracker(5).restored_end == 0
