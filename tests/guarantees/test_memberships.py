"""Guarantees about who delivers and who commits, and what a lost membership excuses: told in events."""

from mpsd.core.outcome import DELIVERED, Rejected, Retryable
from mpsd.core.record import TopicPartition
from mpsd.demo.guarantees import (
    AttemptsSurvive,
    BoundedRepetition,
    CommitNeverGoesBack,
    CommitNeverPassesUnfinished,
    DeadLetterSaysWhy,
    EpochRises,
    EveryRecordSettled,
    Guarantee,
    Judge,
    NullKeysAreFree,
    OutageSpendsNoAttempts,
)
from mpsd.demo.guarantees.events import (
    Committed,
    DaemonKilled,
    DeadLettered,
    DeliveryEnded,
    DeliveryStarted,
    EpochSeen,
    Event,
    OutageBegan,
    Produced,
    Removed,
    SeenRecord,
)

ORDERS, REFUNDS = TopicPartition("orders", 0), TopicPartition("refunds", 0)
A = SeenRecord("orders", 0, 1, b"a")
FREE = [SeenRecord("orders", 0, offset, None) for offset in (1, 2)]
FAILED = Retryable(code="status_500", reason="failed", status=500)
TIMED_OUT = Retryable(code="timeout", reason="no answer in time", lost=True)
REJECTED = Rejected(code="status_422", reason="no such customer", status=422)
DEAD_LETTER = DeadLettered(A, 4.0, "rejected", "no such customer")


def holds(guarantee: Guarantee, *story: Event) -> bool:
    Judge([guarantee]).see_all(story)
    return not guarantee.faults()


def delivered(at_s: float, attempt: int = 1) -> tuple[Event, Event]:
    return DeliveryStarted(A, at_s, attempt), DeliveryEnded(A, at_s + 0.5, DELIVERED)


def test_an_epoch_rises_with_each_owner() -> None:
    first = [EpochSeen(ORDERS, 3, "a", 1.0), EpochSeen(ORDERS, 3, "a", 2.0), EpochSeen(REFUNDS, 1, "a", 2.0)]
    assert holds(EpochRises(), *first, EpochSeen(ORDERS, 4, "b", 3.0), EpochSeen(ORDERS, 6, "a", 4.0))
    assert not holds(EpochRises(), *first, EpochSeen(ORDERS, 4, "b", 3.0), EpochSeen(ORDERS, 3, "a", 4.0))
    assert not holds(EpochRises(), *first, EpochSeen(ORDERS, 3, "b", 3.0))


def test_no_commit_goes_back() -> None:
    assert holds(CommitNeverGoesBack(), Committed(ORDERS, 3, 1.0), Committed(ORDERS, 3, 2.0), Committed(ORDERS, 5, 3.0))
    assert not holds(CommitNeverGoesBack(), Committed(ORDERS, 5, 1.0), Committed(ORDERS, 3, 2.0))


def test_records_without_a_key_wait_for_no_other() -> None:
    started = [DeliveryStarted(record, 1.0) for record in FREE]
    ended = [DeliveryEnded(record, 2.0, DELIVERED) for record in FREE]
    assert holds(NullKeysAreFree(), *started, *ended)
    assert not holds(NullKeysAreFree(), started[0], ended[0], started[1], ended[1])


def test_a_lost_membership_excuses_repetition_of_its_partitions_and_of_nothing_older() -> None:
    again = delivered(9.0)
    assert holds(BoundedRepetition(), *delivered(1.0), DaemonKilled(5.0, {ORDERS}, 1.0), *again)
    assert not holds(BoundedRepetition(), *delivered(1.0), DaemonKilled(5.0, {REFUNDS}, 1.0), *again)
    assert not holds(BoundedRepetition(), *delivered(1.0), DaemonKilled(5.0, {ORDERS}, 3.0), *again)


def test_a_lost_membership_forgets_attempts_of_its_partitions_and_none_older() -> None:
    failed = DeliveryStarted(A, 1.0), DeliveryEnded(A, 1.5, FAILED)
    assert holds(AttemptsSurvive(), *failed, DaemonKilled(5.0, {ORDERS}, 1.0), *delivered(9.0))
    assert not holds(AttemptsSurvive(), *failed, DaemonKilled(5.0, {REFUNDS}, 1.0), *delivered(9.0))
    assert not holds(AttemptsSurvive(), *failed, DaemonKilled(5.0, {ORDERS}, 3.0), *delivered(9.0))


def test_a_dead_letter_comes_twice_only_if_its_first_writer_was_lost() -> None:
    rejected = DeliveryStarted(A, 2.0), DeliveryEnded(A, 3.0, REJECTED)
    assert not holds(DeadLetterSaysWhy(), *rejected, DEAD_LETTER, DEAD_LETTER)
    assert holds(DeadLetterSaysWhy(), *rejected, DaemonKilled(3.5, {ORDERS}, 3.0), DEAD_LETTER, DEAD_LETTER)
    assert holds(DeadLetterSaysWhy(), *rejected, DEAD_LETTER, DaemonKilled(5.0, {ORDERS}, 3.0), DEAD_LETTER)
    assert not holds(DeadLetterSaysWhy(), *rejected, DEAD_LETTER, DaemonKilled(9.0, {ORDERS}, 8.0), DEAD_LETTER)


def test_nobody_answers_for_what_retention_has_taken() -> None:
    assert holds(EveryRecordSettled(), Produced(A), Removed(A))
    assert holds(CommitNeverPassesUnfinished(), Produced(A), Removed(A), Committed(ORDERS, 2, 1.0))
    assert holds(DeadLetterSaysWhy(), DeliveryStarted(A, 1.0), DeliveryEnded(A, 2.0, REJECTED), Removed(A))
    assert holds(DeadLetterSaysWhy(), DeliveryStarted(A, 1.0), DeliveryEnded(A, 2.0, REJECTED), Removed(A), DEAD_LETTER)


def test_a_time_out_of_what_began_before_the_outage_is_the_record_s_own() -> None:
    lost, again = DeliveryEnded(A, 3.0, TIMED_OUT), DeliveryStarted(A, 4.0, 2)
    assert holds(OutageSpendsNoAttempts(), DeliveryStarted(A, 1.0), OutageBegan(2.0), lost, again)
    assert not holds(OutageSpendsNoAttempts(), OutageBegan(1.0), DeliveryStarted(A, 2.0), lost, again)


def test_a_rejection_counts_as_a_delivery() -> None:
    rejected = DeliveryStarted(A, 1.0), DeliveryEnded(A, 2.0, REJECTED)
    assert holds(OutageSpendsNoAttempts(), *rejected, DeliveryStarted(A, 3.0, 2))
