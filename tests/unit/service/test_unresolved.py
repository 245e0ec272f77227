"""The count of dead letters that wait for somebody."""

import asyncio
from collections.abc import Collection, Mapping

from mpsd.core.record import LogBounds
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.dead_letter_ends import TopicEnds
from mpsd.service.unresolved import LOOK_INTERVAL_S, count_unresolved
from tests.fakes.pipeline import piped
from tests.virtual_time import in_virtual_time


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
