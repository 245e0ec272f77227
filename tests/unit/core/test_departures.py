"""Departures and their times."""

from mpsd.core.departures import DEPARTURES_MAX, KEPT_MS, Departures


def test_who_is_not_there_any_more_has_left() -> None:
    known = Departures()
    known.see(["a", "b", "c", ""], 1_000)
    assert known.since(1_000) == {}
    known.see(["a"], 2_000)
    known.see(["a"], 3_000)
    assert known.since(3_000) == {"b": 2_000, "c": 2_000}
    assert repr(known) == "<Departures present=1 left=2>"


def test_who_is_back_has_not_left_and_may_leave_again() -> None:
    known = Departures()
    known.see(["a", "b"], 1_000)
    known.see(["a"], 2_000)
    known.see(["a", "b"], 3_000)
    assert known.since(3_000) == {}
    known.see(["a"], 4_000)
    assert known.since(4_000) == {"b": 4_000}


def test_it_is_forgotten_after_an_hour() -> None:
    known = Departures()
    known.see(["a", "b"], 1_000)
    known.see(["a"], 2_000)
    assert known.since(2_000 + KEPT_MS - 1) == {"b": 2_000}
    assert known.since(2_000 + KEPT_MS) == {}


def test_of_very_many_the_latest_are_kept() -> None:
    known = Departures()
    for number in range(DEPARTURES_MAX + 5):
        known.see([f"daemon-{number}"], number)
    found = known.since(DEPARTURES_MAX)
    assert len(found) == DEPARTURES_MAX
    assert f"daemon-{DEPARTURES_MAX + 3}" in found
    assert "daemon-0" not in found
