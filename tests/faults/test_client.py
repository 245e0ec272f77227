"""A client library that has ended with an error: the membership goes on with a new one."""

import asyncio
import time
from collections.abc import Collection, Sequence

import pytest
from typing_extensions import override

from mpsd.core.delivery import Assignment
from mpsd.errors import KafkaUnavailable
from mpsd.kafka import group_monitor
from mpsd.kafka.consumer import GroupSettings
from mpsd.kafka.group import KafkaGroup
from mpsd.ports import AssignmentListener, Peer, Position
from tests.faults.figures import Figures
from tests.integration.world import Message, World, until
from tests.integration.world.world import name

pytestmark = pytest.mark.integration


class Listener(AssignmentListener):
    """Knows what it has."""

    def __init__(self) -> None:
        self.owned: dict[Assignment, Position] = {}
        self.lost: list[Assignment] = []

    @override
    def on_assigned(self, assignment: Assignment, position: Position) -> None:
        self.owned[assignment] = position

    @override
    def on_lost(self, assignment: Assignment) -> None:
        self.lost.append(assignment)
        del self.owned[assignment]

    @override
    def on_leaving(self, assignment: Assignment) -> None: ...
    @override
    def on_stays(self, assignment: Assignment) -> None: ...
    @override
    def on_share(self, share: float) -> None: ...

    @override
    def on_peers(self, peers: Sequence[Peer]) -> None: ...
    @override
    def on_unreadable(self, assignment: Assignment, offset: int, reason: str) -> None: ...
    @override
    def on_log_end(self, assignment: Assignment, log_end: int, stable_end: int) -> None: ...


async def fetched(group: KafkaGroup, wanted: Collection[Assignment]) -> list[int]:
    """Offsets of one fetch, none while it cannot be answered."""
    try:
        found = await group.fetch(wanted, 100, 0.1)
    except KafkaUnavailable:
        return []
    return [record.offset for got in found.values() for record in got.records]


def group_settings(topic: str) -> GroupSettings:
    return GroupSettings(
        subscription="orders",
        group=name("g"),
        topics=(topic,),
        start="earliest",
        out_of_range="earliest",
        isolation_level="read_committed",
        session_timeout_ms=2_500,
        rebalance_timeout_ms=2_000,
        heartbeat_interval_ms=200,
        fetch_bytes_max=1 << 20,
        metadata_age_max_ms=500,
    )


async def test_a_client_that_has_ended_is_replaced(kafka_bootstrap: list[str], figures: Figures) -> None:
    async with World(kafka_bootstrap) as world:
        topic = await world.create_topic()
        settings = group_settings(topic)
        group, listener = KafkaGroup(settings, {"bootstrap_servers": kafka_bootstrap}), Listener()
        await group.start(listener)
        try:
            await until(lambda: listener.owned, "it has its partition")
            (first,) = listener.owned

            async def fail(*_: object) -> None:
                raise RuntimeError("a bug of the library")

            coordinator = group._consumer._coordinator
            coordinator.ensure_active_group = fail
            coordinator.request_rejoin()
            await until(coordinator._coordination_task.done, "the library has given up")
            died_s = time.monotonic()

            async def has_another() -> bool:
                await fetched(group, list(listener.owned))
                await asyncio.sleep(0)
                return list(listener.owned) not in ([], [first])

            await until(has_another, "a new client has the partition")
            again_s = time.monotonic() - died_s
            assert listener.lost == [first]
            assert "a bug of the library" not in group.waiting_for()
            await world.kafka.produce(topic, [Message(b"k", b"v")])
            (second,) = listener.owned
            assert second.epoch > first.epoch

            async def reads() -> bool:
                return await fetched(group, [second]) == [0]

            await until(reads, "it reads")
            assert group.statistics().numbers["renewals"] == 1
        finally:
            await group.close()
        figures.note("the client library ends with an error of its own", lost=0, goes_on_after_s=again_s)


async def test_a_topic_that_goes_before_anybody_looks_is_gone(
    kafka_bootstrap: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by nobody but the assignment: it was once taken for one that was never there, and nobody was told."""
    monkeypatch.setattr(group_monitor, "LOOK_INTERVAL_S", 3.0)
    async with World(kafka_bootstrap) as world:
        topic = await world.create_topic()
        group, listener = KafkaGroup(group_settings(topic), {"bootstrap_servers": kafka_bootstrap}), Listener()
        await group.start(listener)
        try:
            await until(lambda: listener.owned, "it has its partition")
            await world.kafka.admin.delete_topics([topic])

            async def says_so() -> bool:
                await fetched(group, list(listener.owned))
                return f"topic {topic} is gone" in group.waiting_for()

            await until(says_so, "it says that the topic is gone")
        finally:
            await group.close()
