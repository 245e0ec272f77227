"""The look-up of where gained partitions begin, in virtual time."""

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

from typing_extensions import override

from mpsd.core.record import TopicPartition
from mpsd.kafka.loading import Loading
from mpsd.kafka.owned import Owned
from mpsd.kafka.positions import Positions
from mpsd.ports import Position
from tests.fakes.records import assigned
from tests.virtual_time import in_virtual_time


class NoNode:
    """A consumer whose client knows no broker to ask for topic ids."""

    _client = SimpleNamespace(get_random_node=lambda: None)


class SlowPositions(Positions):
    """Everything begins at 0, and to say so takes a second."""

    @override
    async def look_up(self, consumer: Any, tps: Collection[TopicPartition]) -> dict[TopicPartition, Position | None]:
        await asyncio.sleep(1.0)
        return {tp: Position(None, 0, 0, 10) for tp in tps}


@in_virtual_time
async def test_what_was_lost_during_the_look_up_does_not_begin() -> None:
    owned = [Owned(assigned(0)), Owned(assigned(1))]
    kept = owned[1]
    begun: list[Owned] = []

    def begin(each: Owned, position: Position | None) -> None:
        each.position = 0
        begun.append(each)

    loading = Loading("billing", SlowPositions("billing", "earliest", "earliest"), NoNode, lambda: owned, begin)
    loading.begin()
    await asyncio.sleep(0.5)
    del owned[0]
    await asyncio.sleep(1.0)
    assert begun == [kept]


class BrokenPositions(Positions):
    """Has a bug."""

    @override
    async def look_up(self, consumer: Any, tps: Collection[TopicPartition]) -> dict[TopicPartition, Position | None]:
        raise KeyError(*tps)


@in_virtual_time
async def test_a_look_up_that_ends_by_a_bug_is_found_out() -> None:
    """By the next fetch: else the partition would be assigned, and nothing of it ever read."""
    owned = [Owned(assigned(0))]
    loading = Loading(
        "billing", BrokenPositions("billing", "earliest", "earliest"), NoNode, lambda: owned, NotImplemented
    )
    assert loading.failed is None
    loading.begin()
    assert loading.failed is None
    await asyncio.sleep(0.5)
    assert loading.failed is not None
    assert isinstance(loading.failed.exception(), KeyError)
    loading.begin()
    loading.cancel()
    await asyncio.sleep(0.5)
    assert loading.failed is None
