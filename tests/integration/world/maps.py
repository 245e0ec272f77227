"""Offset maps, as a group has committed them."""

from mpsd.core.offset_map import OffsetMap
from mpsd.core.record import TopicPartition
from mpsd.service.offsets import Committed, committed
from tests.integration.world.patience import until
from tests.integration.world.world import World


async def map_of(world: World, topic: str, partition: int = 0) -> Committed | None:
    """Return what the topic's group has committed now."""
    found = await committed({"bootstrap_servers": world.kafka.bootstrap_servers}, topic)
    return next((each for each in found if each.tp == TopicPartition(topic, partition)), None)


async def until_map_says(world: World, topic: str, finished: int) -> None:
    """Wait until so many are committed as finished beyond the stuck one."""

    async def look() -> bool:
        at = await map_of(world, topic)
        runs = at.found.runs if at is not None and isinstance(at.found, OffsetMap) else ()
        return sum(run.stop - run.start for run in runs) == finished

    await until(look, f"{finished} finished offsets beyond the stuck one are committed")
