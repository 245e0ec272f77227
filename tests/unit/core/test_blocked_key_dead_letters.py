"""Selection of a key's first dead letters out of too many, whatever their order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.blocked_key_dead_letters import BlockedKeyDeadLetters, DeadLetterOffsets, Reach


@given(sources=st.lists(st.integers(0, 30), max_size=50), places_max=st.integers(1, 10))
def test_the_first_are_kept_in_order_and_it_is_said_that_there_are_more(sources: list[int], places_max: int) -> None:
    places = [DeadLetterOffsets(source, dead_letter) for dead_letter, source in enumerate(sources)]
    found = BlockedKeyDeadLetters()
    for place in places:
        found.add(place, places_max)
        assert len(found.places) < 2 * places_max
    found.cut(places_max)
    assert found.places == sorted(places)[:places_max]
    assert found.is_cut == (len(places) > places_max)


@pytest.mark.parametrize(
    ("source", "dead_letter", "unread"),
    [
        (9, 3, False),
        (9, 7, False),
        (10, 3, True),
        (19, 3, True),
        (20, 3, False),  # its log is gone
        (20, 7, True),  # read since the position was asked for
    ],
)
def test_a_dead_letter_whose_record_is_read_again_is_unread(source: int, dead_letter: int, unread: bool) -> None:
    assert (
        Reach({}, position=10, log_end=20, dead_letters_end=7).is_unread(DeadLetterOffsets(source, dead_letter))
        is unread
    )


def test_a_dead_letter_is_behind_the_first_record_of_its_key_that_is_not_finished() -> None:
    reach = Reach({b"k": 5}, position=10, log_end=20, dead_letters_end=7)
    assert [reach.is_behind(b"k", DeadLetterOffsets(source, 0)) for source in (4, 5, 6)] == [False, True, True]
    assert not reach.is_behind(b"o", DeadLetterOffsets(6, 0))


def test_the_first_dead_letter_that_is_left_out_is_known_and_why() -> None:
    found = BlockedKeyDeadLetters()
    found.leave(DeadLetterOffsets(9, 4), is_unread=False)
    found.leave(DeadLetterOffsets(7, 6), is_unread=True)
    found.leave(DeadLetterOffsets(8, 5), is_unread=False)
    assert (found.left, found.is_unread, found.places) == (4, True, [])
