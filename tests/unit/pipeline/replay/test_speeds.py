"""The speed of replays, from samples."""

import pytest

from mpsd.pipeline.replay.tasks import Sample, speed_of


@pytest.mark.parametrize(
    ("samples", "speed"),
    [
        ((), (0.0, None)),
        ((Sample(1.0, sent=5, left=100),), (0.0, None)),
        ((Sample(1.0, sent=0, left=100), Sample(3.0, sent=10, left=60)), (5.0, 3.0)),
        ((Sample(1.0, sent=10, left=100), Sample(3.0, sent=0, left=100)), (0.0, None)),
        ((Sample(1.0, sent=10, left=100), Sample(3.0, sent=0, left=120)), (0.0, None)),
    ],
    ids=["no sample", "one sample", "two samples", "no nearer to its end", "further from its end"],
)
def test_records_a_second_and_the_time_that_is_left(
    samples: tuple[Sample, ...], speed: tuple[float, float | None]
) -> None:
    assert speed_of(samples) == speed
