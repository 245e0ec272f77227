from mpsd.core.batches import THROTTLED_TOGETHER_MAX, Batches
from mpsd.core.delivery import Delivery, FailureHistory
from mpsd.core.outcome import Outcome, Retryable
from mpsd.core.record import RECORD_OVERHEAD_BYTES
from tests.fakes.records import BUSY, FAILED, REFUSED, assigned, delivery


def record(offset: int, *, size: int = 1, behind: bool = False, last: Outcome | None = None) -> Delivery:
    made = delivery(offset, b"%d" % offset)
    made.size_bytes = size + RECORD_OVERHEAD_BYTES
    if behind:
        made.is_behind = True
    if last is not None:
        made.failures = FailureHistory(last=last)
    return made


def offsets(batches: Batches, *deliveries: Delivery) -> tuple[list[list[int]], list[int]]:
    grouped = batches.group(deliveries)
    requests = [[each.record.offset for each in request] for request in grouped.requests]
    return requests, [each.record.offset for each in grouped.left]


def batches(records_max: int = 4, bytes_max: int = 100, suspects_max: int = 100) -> Batches:
    return Batches(records_max, bytes_max, suspects_max)


def test_what_came_together_goes_in_full_requests() -> None:
    assert offsets(batches(2), *(record(offset) for offset in range(5))) == ([[0, 1], [2, 3], [4]], [])
    assert offsets(batches()) == ([], [])


def test_bytes_bound_a_request_and_a_larger_record_goes_alone() -> None:
    sizes = (60, 40, 1, 500, 1)
    assert offsets(batches(), *(record(at, size=size) for at, size in enumerate(sizes))) == (
        [[0, 1], [2], [3], [4]],
        [],
    )


def test_a_record_that_failed_by_itself_goes_alone_and_one_that_was_named_does_not() -> None:
    named = Retryable(code="verdict_retry", reason="later")
    given = [record(0), record(1, last=FAILED), record(2, last=named), record(3)]
    assert offsets(batches(), *given) == ([[0, 2, 3], [1]], [])


def test_records_of_a_request_that_was_answered_with_less_please_go_together_again() -> None:
    given = [record(offset, last=BUSY) for offset in range(3)]
    for deferrals in range(1, THROTTLED_TOGETHER_MAX + 1):
        for each in given:
            assert each.failures is not None
            each.failures.deferrals = deferrals
        assert offsets(batches(), *given, record(9)) == ([[0, 1, 2, 9]], [])


def test_one_that_was_so_again_and_again_or_was_charged_goes_alone() -> None:
    again, charged = record(0, last=BUSY), record(1, last=BUSY)
    assert again.failures is not None
    assert charged.failures is not None
    again.failures.deferrals, charged.failures.attempts = THROTTLED_TOGETHER_MAX + 1, 1
    assert offsets(batches(), again, charged, record(2, last=REFUSED), record(3)) == ([[0], [1], [2], [3]], [])


def test_a_run_stays_in_one_request() -> None:
    run = [record(0), record(1, behind=True), record(2, behind=True)]
    assert offsets(batches(), *run) == ([[0, 1, 2]], [])


def test_what_of_a_run_does_not_fit_is_left() -> None:
    assert offsets(batches(2), record(0), *(record(at, behind=True) for at in (1, 2, 3)), record(4)) == (
        [[0, 1], [4]],
        [2, 3],
    )
    run = [record(0, size=60), record(1, size=60, behind=True), record(2, behind=True)]
    assert offsets(batches(), *run) == ([[0]], [1, 2])


def test_nobody_follows_a_record_that_goes_alone_or_must_go_alone_itself() -> None:
    assert offsets(batches(), record(0, last=FAILED), record(1, behind=True)) == ([[0]], [1])
    assert offsets(batches(), record(0), record(1, behind=True, last=FAILED), record(2, behind=True)) == ([[0]], [1, 2])


def test_halves_of_a_failed_request_go_apart_until_the_culprit_is_alone() -> None:
    cutter, given = batches(), [record(offset) for offset in range(4)]
    cutter.cut(given)
    assert offsets(cutter, *given, record(9)) == ([[0, 1], [2, 3], [9]], [])
    cutter.settled(given[:2])
    cutter.cut(given[2:])
    assert offsets(cutter, *given) == ([[0, 1], [2], [3]], [])
    cutter.settled(given)
    assert len(cutter) == 0
    cutter.settled(given)


def test_halves_come_together_again_whatever_comes_between() -> None:
    cutter, given = batches(), [record(offset) for offset in range(4)]
    cutter.cut(given)
    assert offsets(cutter, given[0], given[2], record(8), given[1], record(9), given[3]) == (
        [[0, 1], [2, 3], [8, 9]],
        [],
    )


def test_a_run_across_two_halves_is_delivered_half_by_half() -> None:
    cutter = batches()
    run = [record(0), *(record(at, behind=True) for at in (1, 2, 3))]
    cutter.cut(run)
    assert offsets(cutter, *run) == ([[0, 1]], [2, 3])
    assert offsets(cutter, record(5), record(6, behind=True), run[1]) == ([[5, 6]], [1])


def test_no_more_suspects_are_remembered_than_allowed() -> None:
    cutter, given = batches(suspects_max=3), [record(offset) for offset in range(4)]
    cutter.cut(given)
    assert len(cutter) == 3
    assert offsets(cutter, *given) == ([[0], [1], [2, 3]], [])


def test_a_partition_that_is_gone_is_forgotten() -> None:
    cutter, mine, other = batches(), record(0), delivery(1, b"x", assigned(7))
    cutter.cut([mine, other])
    cutter.forget(other.assignment)
    assert len(cutter) == 1
    assert repr(cutter) == "<Batches records_max=4 suspects=1>"
