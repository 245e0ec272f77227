"""How many dead letters wait for somebody: looked up every few seconds, for metrics and status."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress

from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.kafka.dead_letter_ends import TopicEnds
from mpsd.pipeline.pipeline import Pipeline

LOOK_INTERVAL_S = 5.0
"""As log ends of source topics."""


async def count_unresolved(
    look: Callable[[Collection[str]], Awaitable[Mapping[str, TopicEnds]]],
    topics: Mapping[str, str],
    pipelines: Sequence[Pipeline],
) -> None:
    """Tell each pipeline where its dead-letter topic begins and ends, until cancelled.

    What cannot be looked up now stays as it was last seen.

    Args:
        topics: the dead-letter topic of each subscription.
    """
    while True:
        with suppress(KafkaUnavailable, KafkaRefused):
            found = await look(set(topics.values()))
            for pipeline in pipelines:
                ends = found.get(topics[pipeline.settings.name])
                pipeline.see_dead_letters(*((ends.bounds, ends.id) if ends is not None else ({}, "")))
        await asyncio.sleep(LOOK_INTERVAL_S)
