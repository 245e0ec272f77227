from mpsd.core.histogram import LATENCY_BOUNDS_S, Histogram


def observed(*values: float) -> Histogram:
    histogram = Histogram((0.1, 1.0))
    for value in values:
        histogram.observe(value)
    return histogram


def test_a_value_on_a_bound_is_in_the_bucket_below_it() -> None:
    assert observed(0.0, 0.1, 0.10001, 1.0, 7.0).counts == [2, 2, 1]


def test_all_are_counted_and_summed() -> None:
    histogram = observed(0.25, 0.25, 7.0)
    assert (histogram.count, histogram.total) == (3, 7.5)


def test_latencies_have_buckets_from_a_millisecond_to_an_hour() -> None:
    assert Histogram().bounds == LATENCY_BOUNDS_S
    assert LATENCY_BOUNDS_S[0] == 0.001
    assert LATENCY_BOUNDS_S[-1] == 3600.0
    assert sorted(LATENCY_BOUNDS_S) == list(LATENCY_BOUNDS_S)
