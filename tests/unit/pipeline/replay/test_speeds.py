"""The speed of replays, from samples."""

import pytest

from mpsd.pipeline.replay.tasks import SPEED_S, ReplaySpeeds, Sample


def test_of_one_sample_nobody_knows() -> None:
    speeds = ReplaySpeeds()
    assert speeds.of("r1") == (0.0, None)
    speeds.add("r1", Sample(1.0, sent=5, left=100))
    assert speeds.of("r1") == (0.0, None)


def test_records_a_second_and_how_long_it_will_take() -> None:
    speeds = ReplaySpeeds()
    speeds.add("r1", Sample(1.0, sent=0, left=100))
    speeds.add("r1", Sample(3.0, sent=10, left=60))
    assert speeds.of("r1") == (5.0, 3.0)


@pytest.mark.parametrize("left", [100, 120])
def test_what_does_not_come_nearer_to_its_end_has_no_time(left: int) -> None:
    speeds = ReplaySpeeds()
    speeds.add("r1", Sample(1.0, sent=10, left=100))
    speeds.add("r1", Sample(3.0, sent=0, left=left))
    assert speeds.of("r1") == (0.0, None)


def test_what_is_long_ago_does_not_count() -> None:
    speeds = ReplaySpeeds()
    for number in range(30):
        speeds.add("r1", Sample(float(number), sent=number * (1 if number < 15 else 10), left=1_000))
    per_s, _ = speeds.of("r1")
    assert per_s == 10.0
    assert SPEED_S < 15


def test_what_is_over_is_forgotten() -> None:
    speeds = ReplaySpeeds()
    for at_s in (1.0, 2.0):
        for task in ("r1", "r2"):
            speeds.add(task, Sample(at_s, sent=int(at_s), left=1))
    speeds.keep(["r2"])
    assert (speeds.of("r1")[0], speeds.of("r2")[0]) == (0.0, 1.0)
