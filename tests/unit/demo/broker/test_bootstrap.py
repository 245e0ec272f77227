"""The environment may name another Kafka."""

import pytest

from mpsd.demo.broker import external_servers, kafka


@pytest.mark.parametrize(
    ("value", "servers"),
    [("", []), (" , ", []), ("a:1", ["a:1"]), ("a:1, b:2,", ["a:1", "b:2"])],
)
def test_servers_are_separated_by_commas(value: str, servers: list[str]) -> None:
    assert external_servers({"KAFKA_BOOTSTRAP_SERVERS": value}) == servers


def test_an_external_kafka_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "somewhere:9092")
    with kafka() as servers:
        assert servers == ["somewhere:9092"]
