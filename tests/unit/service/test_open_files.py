"""The limit of open files, of this very process: it is put back afterwards."""

import logging
from collections.abc import Iterator

import pytest

from mpsd.config import Config
from mpsd.service.open_files import KAFKA_FILES, allowed, findings, needed, raise_limit, raised

resource = pytest.importorskip("resource", reason="Windows has no such limit")
REST: dict[str, object] = {"protocol": "rest", "url": "http://127.0.0.1:8000/orders", "concurrency_max": 100}
PULL: dict[str, object] = {"protocol": "pull", "waiters_max": 3_000}
STREAM: dict[str, object] = {"protocol": "stream"}


@pytest.fixture(autouse=True)
def soft_limit() -> Iterator[int]:
    """Yield a low soft limit to begin with."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = 512
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    yield soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def config(*deliveries: dict[str, object], streams_max: int = 2_000) -> Config:
    subscriptions = [
        {"name": f"s{number}", "topics": ["orders"], "group": f"g{number}", "delivery": delivery}
        for number, delivery in enumerate(deliveries)
    ]
    kafka = {"bootstrap_servers": ["127.0.0.1:9092"]}
    return Config.model_validate(
        {"kafka": kafka, "stream": {"streams_max": streams_max}, "subscriptions": subscriptions}
    )


def test_each_bound_of_connections_counts() -> None:
    rest = needed(config(REST))
    assert needed(config(PULL)) - rest == 2_900
    assert needed(config(STREAM)) - rest == 1_900
    assert needed(config(REST, STREAM, STREAM)) - rest == 2_000 + 2 * KAFKA_FILES


def test_the_soft_limit_is_raised_as_far_as_needed_and_never_lowered(soft_limit: int) -> None:
    assert not raised(soft_limit + 100).is_short
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft_limit + 100
    assert not raised(soft_limit).is_short
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft_limit + 100


def test_a_hard_limit_that_is_too_low_is_told(soft_limit: int, caplog: pytest.LogCaptureFixture) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= 100_000:
        pytest.skip("no bound of the configuration passes the hard limit here")
    greedy = config(PULL | {"waiters_max": 100_000})
    (finding,) = findings(greedy)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft_limit, "a check changes nothing"
    assert (finding.ok, finding.works) == (False, True)
    assert str(hard) in finding.text
    with caplog.at_level(logging.WARNING):
        raise_limit(greedy)
    assert [getattr(record, "code", "") for record in caplog.records] == ["service.open_files"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard


def test_nothing_is_said_of_a_limit_that_can_be_had() -> None:
    assert findings(config(REST)) == []
    assert not allowed(600).is_short
