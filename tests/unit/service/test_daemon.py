"""The daemon's watch over its neighbours and its count of unresolved dead letters."""

import asyncio
import logging
from collections.abc import Collection, Mapping

import pytest

from mpsd.core.record import LogBounds
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.dead_letter_log import TopicEnds
from mpsd.ports import Peer
from mpsd.service.daemon import LOOK_INTERVAL_S, Neighbours, count_unresolved
from tests.fakes.pipeline import piped
from tests.virtual_time import in_virtual_time

OWN = Peer("127.0.0.1:7070", "", "", "i", "a", "a")
OTHER = Peer("10.0.0.2:7070", "", "", "j", "b", "b")


def test_what_is_wrong_is_said_once_and_that_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    members = {OWN}
    neighbours = Neighbours(lambda: members)
    neighbours.look()
    assert not caplog.records
    members.add(OTHER)
    for _ in range(3):
        neighbours.look()
    members.add(OTHER._replace(instance="k", admin="127.0.0.1:7070"))
    neighbours.look()
    members.clear()
    neighbours.look()
    neighbours.look()
    said = [(vars(line)["code"], line.levelname, line.getMessage()) for line in caplog.records]
    assert [(code, level) for code, level, _ in said] == [
        ("fleet.unreachable", "ERROR"), ("fleet.unreachable", "ERROR"), ("fleet.reachable", "INFO"),
    ]  # fmt: skip
    assert said[0][2].startswith(
        "daemon i on host a advertises 127.0.0.1:7070 as its admin listener, which no other host"
    )
    assert said[0][2].endswith("; no change is confirmed until that is mended")
    assert said[1][2].startswith("daemon k on host b advertises 127.0.0.1:7070")


@in_virtual_time
async def test_what_cannot_be_looked_up_stays_as_it_was_seen() -> None:
    found: dict[str, TopicEnds] = {}
    is_down = False

    async def look(topics: Collection[str]) -> Mapping[str, TopicEnds]:
        assert set(topics) == {"orders.dlq"}
        if is_down:
            raise KafkaUnavailable("no broker")
        return found

    async with piped() as at:
        assert at.pipeline.statistics().unresolved_dead_letters == -1
        counting = asyncio.create_task(count_unresolved(look, {"billing": "orders.dlq"}, [at.pipeline]))
        await asyncio.sleep(0.1)
        assert at.pipeline.statistics().unresolved_dead_letters == 0, "there is no topic yet"
        found["orders.dlq"] = TopicEnds("a", {0: LogBounds(3, 7), 1: LogBounds(0, 2)})
        await asyncio.sleep(LOOK_INTERVAL_S)
        assert at.pipeline.statistics().unresolved_dead_letters == 6
        is_down = True
        await asyncio.sleep(3 * LOOK_INTERVAL_S)
        assert at.pipeline.statistics().unresolved_dead_letters == 6
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
