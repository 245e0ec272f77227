"""Dead letters with the same complaint are one group, whatever record each is about."""

from dataclasses import replace

from mpsd.core.dead_letter_groups import BY_REASON, DeadLetterGroups
from mpsd.core.dead_letter_record import DeadLetterRecord, parse
from tests.fakes.replays import dead_letter


def reading(*reasons: str, groups_max: int = 100) -> DeadLetterGroups:
    """Dead letters one second apart, the last one the oldest."""
    sample = parse(dead_letter(0, 0))
    assert isinstance(sample, DeadLetterRecord)
    groups = DeadLetterGroups(BY_REASON, groups_max)
    for number, reason in enumerate(reasons):
        groups.add(replace(sample, reason=reason, dead_lettered_at_ms=10_000 - number), replayed=number == 0)
    return groups


def test_ten_thousand_records_with_one_complaint_are_one_group() -> None:
    groups = reading(*(f"answered 422: item {number} has no price" for number in range(10_000)))
    (only,) = groups.most_frequent(10)
    assert (only.name, only.records, only.replayed) == ("answered 422: item # has no price", 10_000, 1)
    assert (only.first_ms, only.last_ms) == (1, 10_000)
    assert only.sample.reason == "answered 422: item 0 has no price"


def test_a_reason_that_all_of_a_group_share_is_shown_in_full() -> None:
    groups = reading(*["answered 415: not 'application/json'"] * 3, "answered 500", "answered 500")
    assert [(group.name, group.records) for group in groups.most_frequent(10)] == [
        ("answered 415: not 'application/json'", 3),
        ("answered 500", 2),
    ]
    assert [group.records for group in groups.most_frequent(1)] == [3]


def test_beyond_the_bound_only_the_count_goes_on() -> None:
    groups = reading("a", "b", "c", "a", groups_max=2)
    assert [(group.name, group.records) for group in groups.most_frequent(10)] == [("a", 2), ("b", 1)]
    assert groups.records == 4
