"""The look-up of where gained partitions begin, in virtual time."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition as Key
from aiokafka.errors import IncompatibleBrokerVersion, NodeNotReadyError
from aiokafka.structs import OffsetAndMetadata
from typing_extensions import override

from mpsd.core.incarnation import UNKNOWN, Incarnation
from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import MapSpace, encode
from mpsd.core.offset_tracker import Snapshot
from mpsd.core.record import TopicPartition
from mpsd.kafka.consumer import GroupSettings
from mpsd.kafka.group_monitor import PositionLoader
from mpsd.kafka.membership import Lease, Membership, OwnedPartition
from mpsd.kafka.positions import Positions
from mpsd.ports import Position
from tests.fakes.records import assigned
from tests.virtual_time import in_virtual_time


class Consumer:
    """A consumer of a broker that answers as it is told.

    Attributes:
        metadata: the answer to each look at topics, in turn; the last one again and again.
    """

    def __init__(self, *metadata: Mapping[str, Any] | Exception) -> None:
        self.metadata = list(metadata)
        self._client = self
        self.asked: list[Any] = []

    def get_random_node(self) -> int | None:
        return 1

    async def send(self, _node: int, request: Any) -> SimpleNamespace:
        self.asked.append(request)
        answer = self.metadata.pop(0) if len(self.metadata) > 1 else self.metadata[0]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(to_object=lambda: answer)


TOPIC_ID = bytes(range(16))
KNOWN = {"cluster_id": "c", "topics": [{"name": "orders", "id": TOPIC_ID, "error_code": 0}]}
NOT_YET = {"cluster_id": "c", "topics": [{"name": "orders", "id": bytes(16), "error_code": 3}]}
WITHOUT_IDS = {"cluster_id": "c", "topics": [{"name": "orders", "id": bytes(16), "error_code": 0}]}
LEADERLESS = {"cluster_id": None, "topics": [{"name": "orders", "id": TOPIC_ID, "error_code": 5}]}


def member(positions: type[Positions], consumer: Consumer, *owned: OwnedPartition) -> Membership:
    """Return a membership that owns these partitions."""
    settings = GroupSettings(
        subscription="billing", group="billing", topics=("orders",), start="earliest", out_of_range="earliest",
        isolation_level="read_committed", session_timeout_ms=6_000, rebalance_timeout_ms=30_000,
        heartbeat_interval_ms=1_000, fetch_bytes_max=1_000_000,
    )  # fmt: skip
    made = Membership(settings, Lease(6_000, 30_000), positions("billing", "earliest", "earliest"))
    made.consumer = consumer
    made.owned.update({each.assignment.tp: each for each in owned})
    return made


class SlowPositions(Positions):
    """Everything begins at 0, and to say so takes a second."""

    @override
    async def look_up(
        self, consumer: Any, incarnations: Mapping[TopicPartition, Incarnation]
    ) -> dict[TopicPartition, Position | None]:
        await asyncio.sleep(1.0)
        return {tp: Position(None, 0, 0, 10) for tp in incarnations}


@in_virtual_time
async def test_what_was_lost_during_the_look_up_does_not_begin() -> None:
    leaves, kept = OwnedPartition(assigned(0)), OwnedPartition(assigned(1))
    begun: list[OwnedPartition] = []

    def begin(each: OwnedPartition, position: Position | None) -> None:
        each.position = 0
        begun.append(each)

    loading = PositionLoader(of := member(SlowPositions, Consumer(KNOWN), leaves, kept), begin)
    loading.begin()
    await asyncio.sleep(0.5)
    del of.owned[leaves.assignment.tp]
    await asyncio.sleep(1.0)
    assert begun == [kept]


class BrokenPositions(Positions):
    """Has a bug."""

    @override
    async def look_up(
        self, consumer: Any, incarnations: Mapping[TopicPartition, Incarnation]
    ) -> dict[TopicPartition, Position | None]:
        raise KeyError(*incarnations)


@in_virtual_time
async def test_a_look_up_that_ends_by_a_bug_is_found_out() -> None:
    """By the next fetch: else the partition would be assigned, and nothing of it ever read."""
    owned = OwnedPartition(assigned(0))
    loading = PositionLoader(member(BrokenPositions, Consumer(KNOWN), owned), NotImplemented)
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


@pytest.mark.parametrize(
    ("answers", "known"),
    [
        ([KNOWN], Incarnation(TOPIC_ID, "c")),
        ([LEADERLESS], Incarnation(TOPIC_ID, "")),
        ([WITHOUT_IDS], Incarnation(b"", "c")),
        ([IncompatibleBrokerVersion("Metadata v10"), {"cluster_id": "c"}], Incarnation(b"", "c")),
        ([IncompatibleBrokerVersion("Metadata v10"), {}], UNKNOWN),
        ([NOT_YET, NOT_YET, KNOWN], Incarnation(TOPIC_ID, "c")),
        ([NodeNotReadyError(), KNOWN], Incarnation(TOPIC_ID, "c")),
    ],
)
@in_virtual_time
async def test_the_topic_is_known_before_anything_of_it_is_delivered(answers: list[Any], known: Incarnation) -> None:
    owned = OwnedPartition(assigned(0))
    begun: list[Incarnation] = []

    def begin(each: OwnedPartition, position: Position | None) -> None:
        each.position = 0
        begun.append(each.assignment.incarnation)

    consumer = Consumer(*answers)
    loading = PositionLoader(member(SlowPositions, consumer, owned), begin)
    loading.begin()
    await asyncio.sleep(5.0)
    assert begun == [known]
    assert owned.assignment.record_prefix == known.record_prefix(owned.assignment.tp)
    assert not loading.waiting


@in_virtual_time
async def test_while_the_topic_is_not_known_it_waits_and_says_so() -> None:
    owned = OwnedPartition(assigned(0))
    consumer = Consumer(NOT_YET)
    loading = PositionLoader(member(SlowPositions, consumer, owned), NotImplemented)
    loading.begin()
    await asyncio.sleep(3.5)
    assert "UnknownTopicOrPartition (orders)" in loading.waiting
    loading.cancel()


class Committed:
    """A consumer of a group that has committed something, and of a log from 3 to 100."""

    def __init__(self, *points: tuple[int, str]) -> None:
        self._points = {Key("orders", partition): OffsetAndMetadata(*point) for partition, point in enumerate(points)}
        self._coordinator = self

    async def fetch_committed_offsets(self, keys: list[Any]) -> dict[Any, OffsetAndMetadata]:
        return {key: self._points[key] for key in keys}

    async def beginning_offsets(self, keys: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(keys, 3)

    async def end_offsets(self, keys: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(keys, 100)


async def test_a_commit_of_the_topic_before_is_passed_over_and_a_copied_one_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    space, here = MapSpace(Packing.ASCII, 4_096), Incarnation(TOPIC_ID, "here")
    others = here, Incarnation(bytes(15) + b"1", "here"), Incarnation(bytes(15) + b"1", "there")
    texts = [
        encode(Snapshot(50, (), ()), TopicPartition("orders", partition), space, each).text
        for partition, each in enumerate(others)
    ]
    consumer = Committed(*((50, text) for text in texts), (50, ""))
    tps = [TopicPartition("orders", partition) for partition in range(4)]
    found = await Positions("billing", "latest", "stop").look_up(consumer, dict.fromkeys(tps, here))
    assert [position and position.next_offset for position in found.values()] == [50, 3, 50, 50]
    (line,) = caplog.messages
    assert line == "orders/1: topic was recreated after the commit of offset 50; reading it from its first record, 3"
