"""Of too many dead letters of a key those that come first, whatever the order in which they stand."""

from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.held_letters import HeldLetters, Place


@given(sources=st.lists(st.integers(0, 30), max_size=50), places_max=st.integers(1, 10))
def test_the_first_are_kept_in_order_and_it_is_said_that_there_are_more(sources: list[int], places_max: int) -> None:
    places = [Place(source, letter) for letter, source in enumerate(sources)]
    found = HeldLetters()
    for place in places:
        found.add(place, places_max)
        assert len(found.places) < 2 * places_max
    found.cut(places_max)
    assert found.places == sorted(places)[:places_max]
    assert found.is_cut == (len(places) > places_max)
