"""The broker: logs, one group, what it committed, the dead-letter topic; and every way in which it can be out of reach."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, NamedTuple

from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from mpsd.core.incarnation import TOPIC_ID_BYTES, Incarnation
from mpsd.core.record import TopicPartition
from tests.simulation.group import REBALANCE_IN_PROGRESS, Group
from tests.simulation.log import PartitionLog, Read, SimulatedRecord
from tests.simulation.machine import Process, outside

METADATA_TOO_LARGE = 12
CLUSTER_ID = "simulated"
FETCH_WAIT_S = 0.5
RECORDS_PER_FETCH = 120
IN_ORDER_S = 1e-6
"""Between two messages of a connection that would arrive at the same moment."""


class Stored(NamedTuple):
    """A group's commit for a partition: one answer holds both parts."""

    offset: int
    metadata: str


class Cut:
    """A cut between a daemon and the broker, for every connection that the daemon makes."""

    def __init__(self) -> None:
        self.requests = False
        self.answers = False


class Connection:
    """A daemon's connection to the coordinator: requests are answered one after the other.

    Attributes:
        open: requests that wait for their answers.
    """

    def __init__(self, name: str, process: Process, cut: Cut) -> None:
        self.name = name
        self.process = process
        self.cut = cut
        self.closed = False
        self.queue: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self.open: dict[asyncio.Future[Any], None] = {}
        self.is_busy = False
        self.arrives_s = 0.0
        self.answered_s = 0.0


class Broker:
    """Answers requests after a while; the while is drawn from the seed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dice: random.Random,
        metadata_max: int,
        tell: Callable[[str], None],
        on_committed: Callable[[TopicPartition, int, str, int], None],
        on_dropped: Callable[[Any], None],
    ) -> None:
        self._loop = loop
        self._dice = dice
        self._metadata_max = metadata_max
        self._on_committed = on_committed
        self.group = Group(loop, tell, on_dropped)
        self.logs: dict[TopicPartition, PartitionLog] = {}
        self.committed: dict[TopicPartition, Stored] = {}
        self.is_up = True
        self.slow = 1.0
        self.commit_answers = "prompt"
        self._fetches: list[_Fetch] = []
        self.connections: list[Connection] = []

    def latency_s(self) -> float:
        dice = self._dice
        usual_s = 0.0005 + dice.random() * 0.003
        return (usual_s if dice.random() < 0.97 else usual_s + dice.random() * 0.1) * self.slow

    # requests of the group's protocol
    def send(self, connection: Connection, request: Any, answer: "asyncio.Future[Any]") -> None:
        """Send a request of the daemon."""
        if not self.is_up or connection.closed:
            connection.process.later(self.latency_s(), fail, answer)
            return
        connection.open[answer] = None
        if not connection.cut.requests:
            at_s = max(self._loop.time() + self.latency_s(), connection.arrives_s + IN_ORDER_S)
            connection.arrives_s = at_s
            outside(self._loop, at_s - self._loop.time(), self._arrive, connection, request, answer)

    def _arrive(self, connection: Connection, request: Any, answer: "asyncio.Future[Any]") -> None:
        if not self.is_up or connection.closed:
            return
        if connection.is_busy:
            connection.queue.append((request, answer))
        else:
            connection.is_busy = True
            self._take(connection, request, answer)

    def _take(self, connection: Connection, request: Any, answer: "asyncio.Future[Any]") -> None:
        def reply(response: Any) -> None:
            self._reply(connection, request, answer, response)

        match request:
            case JoinGroupRequest():
                self.group.join(connection, request, reply)
            case SyncGroupRequest():
                self.group.sync(request, reply)
            case HeartbeatRequest():
                reply(SimpleNamespace(error_code=self.group.heartbeat(request)))
            case LeaveGroupRequest():
                reply(SimpleNamespace(error_code=self.group.leave(request)))
            case OffsetCommitRequest():
                reply(self._commit(request))
            case OffsetFetchRequest():
                reply(self._committed(request))
            case Request(API_KEY=3):
                reply(self._metadata())
            case _:
                raise TypeError(f"unexpected {request!r}")

    def _reply(self, connection: Connection, request: Any, answer: "asyncio.Future[Any]", response: Any) -> None:
        connection.is_busy = False
        if not connection.closed and self.is_up:
            late_s = self.latency_s()
            is_lost = connection.cut.answers
            if isinstance(request, OffsetCommitRequest) and self.commit_answers != "prompt":
                late_s += self._dice.random() * 0.8 if self.commit_answers == "late" else 0.0
                is_lost = is_lost or (self.commit_answers == "lost" and self._dice.random() < 0.5)
            if not is_lost:
                at_s = max(self._loop.time() + late_s, connection.answered_s + IN_ORDER_S)
                connection.answered_s = at_s
                connection.process.later(at_s - self._loop.time(), resolve, answer, response)
                del connection.open[answer]
        if connection.queue and not connection.is_busy:
            following, waiting = connection.queue.popleft()
            outside(self._loop, IN_ORDER_S, self._arrive, connection, following, waiting)

    def _commit(self, request: Any) -> SimpleNamespace:
        error = self.group.commit(request._consumer_group_generation_id, request._consumer_id)
        if self.commit_answers == "refused" and not error and self._dice.random() < 0.5:
            error = REBALANCE_IN_PROGRESS if self._dice.random() < 0.2 else 14
        topics = []
        for topic, partitions in request._topics:
            answers = []
            for partition, offset, metadata in partitions:
                tp = TopicPartition(topic, partition)
                own = error or (METADATA_TOO_LARGE if _units(metadata) > self._metadata_max else 0)
                if not own:
                    self.committed[tp] = Stored(offset, metadata)
                    self._on_committed(tp, offset, metadata, request._consumer_group_generation_id)
                answers.append((partition, own))
            topics.append((topic, answers))
        return SimpleNamespace(topics=topics)

    def _metadata(self) -> SimpleNamespace:
        topics = [
            {"name": topic, "id": incarnation_of(topic).topic_id, "error_code": 0}
            for topic in dict.fromkeys(tp.topic for tp in self.logs)
        ]
        return SimpleNamespace(to_object=lambda: {"cluster_id": CLUSTER_ID, "topics": topics})

    def _committed(self, request: Any) -> SimpleNamespace:
        topics = []
        for topic, partitions in request._partitions:
            stored = [(p, self.committed.get(TopicPartition(topic, p), Stored(-1, ""))) for p in partitions]
            topics.append((topic, [(p, offset, metadata, 0) for p, (offset, metadata) in stored]))
        return SimpleNamespace(topics=topics)

    # the log
    def append(self, record: SimulatedRecord) -> None:
        tp = TopicPartition(record.topic, record.partition)
        self.logs[tp].append(record)
        waiting, self._fetches = self._fetches, []
        for fetch in waiting:
            if tp in fetch.asked:
                self._answer_fetch(fetch)
            else:
                self._fetches.append(fetch)

    def fetch(self, connection: Connection, asked: Mapping[Any, int], take: Callable[[Any], None]) -> None:
        """Fetch records of all partitions asked for, or None on failure; wait for the first record if there is none."""
        if connection.cut.requests or not self.is_up:
            connection.process.later(FETCH_WAIT_S, take, None)
            return
        fetch = _Fetch(connection, asked, take)
        outside(self._loop, self.latency_s(), self._begin_fetch, fetch)

    def _begin_fetch(self, fetch: "_Fetch") -> None:
        if any(not self.logs[tp].has(offset) or self.logs[tp].end > offset for tp, offset in fetch.asked.items()):
            self._answer_fetch(fetch)
        else:
            self._fetches.append(fetch)
            outside(self._loop, FETCH_WAIT_S, self._end_fetch, fetch)

    def _end_fetch(self, fetch: "_Fetch") -> None:
        if fetch in self._fetches:
            self._fetches.remove(fetch)
            self._answer_fetch(fetch)

    def _answer_fetch(self, fetch: "_Fetch") -> None:
        found: dict[Any, Read | None] | None = None
        delay_s = FETCH_WAIT_S
        if self.is_up and not fetch.connection.cut.answers:
            delay_s = self.latency_s()
            found = {
                tp: self.logs[tp].read(offset, RECORDS_PER_FETCH) if self.logs[tp].has(offset) else None
                for tp, offset in fetch.asked.items()
            }
        fetch.connection.process.later(delay_s, fetch.take, found)

    async def ask(self, connection: Connection, question: Callable[[], Any]) -> Any:
        """Anything else that is asked and answered."""
        await asyncio.sleep(self.latency_s())
        if connection.cut.requests or connection.cut.answers or not self.is_up:
            await asyncio.sleep(self.latency_s())
            raise KafkaConnectionError("the broker is out of reach")
        answer = question()
        await asyncio.sleep(self.latency_s())
        return answer

    # faults
    def go_down(self) -> None:
        self.is_up = False
        for connection in self.connections:
            self.close(connection)
        self.connections.clear()
        self.group.go_down()

    def come_up(self) -> None:
        self.is_up = True
        self.group.come_up()

    def close(self, connection: Connection) -> None:
        connection.closed = True
        waiting, connection.open = connection.open, {}
        for answer in waiting:
            connection.process.later(self.latency_s(), fail, answer)


class _Fetch:
    """One that waits for records."""

    def __init__(self, connection: Connection, asked: Mapping[Any, int], take: Callable[[Any], None]) -> None:
        self.connection = connection
        self.asked = asked
        self.take = take


def resolve(answer: "asyncio.Future[Any]", response: Any) -> None:
    if not answer.done():
        answer.set_result(response)


def fail(answer: "asyncio.Future[Any]") -> None:
    if not answer.done():
        answer.set_exception(KafkaConnectionError("the connection was lost"))


def incarnation_of(topic: str) -> Incarnation:
    """Return the topic as the broker knows it; a topic has the same id in every run."""
    return Incarnation(sha256(topic.encode()).digest()[:TOPIC_ID_BYTES], CLUSTER_ID)


def _units(metadata: str) -> int:
    return len(metadata.encode("utf-16-le")) // 2
