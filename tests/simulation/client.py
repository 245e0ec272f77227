"""The client library's consumer on the simulated broker: its coordinator, subscription and public calls are the real ones.

What is not real are the sockets beneath (`Network`) and the fetcher beside (`Fetches`).
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import group_coordinator, subscription_state
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError, RequestTimedOutError
from typing_extensions import override

from mpsd.kafka.assignor import CooperativeAssignor
from mpsd.kafka.consumer import GroupSettings
from tests.simulation.broker import Broker, Connection, Cut
from tests.simulation.machine import Process

REQUEST_TIMEOUT_S = 4.0
RETRY_BACKOFF_MS = 100


def tell_time(loop: asyncio.AbstractEventLoop) -> None:
    """Let the library read the loop's time instead of `time.monotonic`."""
    clock = SimpleNamespace(monotonic=loop.time)
    group_coordinator.time = clock
    subscription_state.time = clock


class Network:
    """The client as the coordinator knows it: it sends requests and knows the cluster's topics."""

    def __init__(self, name: str, process: Process, broker: Broker, cut: Cut) -> None:
        self.cluster = _Metadata(broker)
        self._name = name
        self._process = process
        self._broker = broker
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self.connection = self._connected()

    def _connected(self) -> Connection:
        connection = Connection(self._name, self._process, self._cut)
        self._broker.connections.append(connection)
        return connection

    async def send(self, node_id: int, request: Any, *, group: Any = None) -> Any:
        """Send a request; raise KafkaError, as the library does."""
        if self.connection.closed:
            self.connection = self._connected()
        connection = self.connection
        answer = self._loop.create_future()
        timer = self._loop.call_later(REQUEST_TIMEOUT_S, self._give_up, connection, answer)
        self._broker.send(connection, request, answer)
        try:
            return await answer
        finally:
            timer.cancel()

    def _give_up(self, connection: Connection, answer: "asyncio.Future[Any]") -> None:
        if not answer.done():
            answer.set_exception(RequestTimedOutError())
        if not connection.closed:
            self._broker.close(connection)
            self._broker.connections.remove(connection)

    async def coordinator_lookup(self, kind: Any, group: str) -> int:
        return int(await self._broker.ask(self.connection, lambda: 1))

    async def ready(self, node_id: int, *, group: Any = None) -> bool:
        return self._broker.is_up

    async def force_metadata_update(self) -> bool:
        await asyncio.sleep(self._broker.latency_s())
        return True

    def get_random_node(self) -> int | None:
        """Return the one broker."""
        return 1

    async def _maybe_wait_metadata(self) -> None:
        """Return at once, because metadata is always known."""

    def set_topics(self, topics: Any) -> None:
        """All are known."""

    async def close(self) -> None:
        self._broker.close(self.connection)


class _Metadata:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {tp.partition for tp in self._broker.logs if tp.topic == topic}

    def add_listener(self, listener: Callable[[Any], None]) -> None:
        """Topics do not change."""


class Fetches:
    """Fetches ahead for all partitions that are not paused, and hands out what belongs to the present assignment."""

    def __init__(self, subscriptions: SubscriptionState, network: Network, broker: Broker) -> None:
        self._subscriptions = subscriptions
        self._network = network
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._held: dict[Any, _Held] = {}
        self._asked_of: Any = None
        self._waiter: asyncio.Future[None] | None = None

    def seek_to(self, tp: Any, offset: int) -> None:
        self._subscriptions.seek(tp, offset)
        self._held.pop(tp, None)

    async def fetched_records(
        self, partitions: Collection[Any], timeout: float = 0, max_records: int | None = None
    ) -> dict[Any, list[Any]]:
        end_s = self._loop.time() + timeout
        while True:
            drained = self._drain(partitions, max_records or 500)
            self._ask()
            left_s = end_s - self._loop.time()
            if drained or left_s <= 0:
                return drained
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(left_s, _wake, self._waiter)
            await self._waiter
            timer.cancel()

    def _drain(self, partitions: Collection[Any], records_max: int) -> dict[Any, list[Any]]:
        drained: dict[Any, list[Any]] = {}
        for tp, held in list(self._held.items()):
            state = held.assignment.state_value(tp)
            if not held.assignment.active or state.paused or state.position != held.position:
                del self._held[tp]
            elif tp not in partitions or records_max <= 0:
                continue
            elif held.records is None:
                if not drained:
                    del self._held[tp]
                    raise OffsetOutOfRangeError({tp: held.position})
            else:
                taken, held.records = held.records[:records_max], held.records[records_max:]
                held.position = taken[-1].offset + 1 if held.records else held.next_offset
                state.consumed_to(held.position)
                if not held.records:
                    del self._held[tp]
                if taken:
                    drained[tp] = list(taken)
                    records_max -= len(taken)
        return drained

    def _ask(self) -> None:
        subscription = self._subscriptions.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None or self._asked_of is assignment:
            return
        asked = {}
        for tp in sorted(assignment.tps):
            state = assignment.state_value(tp)
            if tp not in self._held and state.has_valid_position and not state.paused:
                asked[tp] = state.position
        if asked:
            self._asked_of = assignment
            self._broker.fetch(self._network.connection, asked, lambda found: self._arrived(assignment, asked, found))

    def _arrived(self, assignment: Any, asked: Mapping[Any, int], found: Mapping[Any, Any] | None) -> None:
        if self._asked_of is assignment:
            self._asked_of = None
        for tp, read in (found or {}).items():
            state = assignment.state_value(tp)
            if not assignment.active or state.paused or state.position != asked[tp]:
                continue
            if read is None:
                self._held[tp] = _Held(assignment, asked[tp], None, 0)
                continue
            state.highwater = read.high_watermark
            if read.records or read.next_offset > asked[tp]:
                self._held[tp] = _Held(assignment, asked[tp], read.records, read.next_offset)
        if self._waiter is not None:
            _wake(self._waiter)

    async def beginning_offsets(self, partitions: Collection[Any], timeout_ms: int) -> dict[Any, int]:
        logs = self._broker.logs
        found = await self._broker.ask(self._network.connection, lambda: {tp: logs[tp].start for tp in partitions})
        return dict(found)

    async def end_offsets(self, partitions: Collection[Any], timeout_ms: int) -> dict[Any, int]:
        logs = self._broker.logs
        found = await self._broker.ask(self._network.connection, lambda: {tp: logs[tp].end for tp in partitions})
        return dict(found)

    async def close(self) -> None:
        """Do nothing, because nothing is open."""


class _Held:
    def __init__(self, assignment: Any, position: int, records: Any, next_offset: int) -> None:
        self.assignment = assignment
        self.position = position
        self.records = records
        self.next_offset = next_offset


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


class SimulatedConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # the library is not typed
    """The library's consumer, put together of its own parts and ours."""

    def __init__(
        self, settings: GroupSettings, assignor: CooperativeAssignor, process: Process, broker: Broker, cut: Cut
    ) -> None:
        self._closed = False
        self._group_id = settings.group
        self._max_poll_records = None
        self._request_timeout_ms = int(REQUEST_TIMEOUT_S * 1000)
        self._subscription = SubscriptionState()
        self._client = Network(process.name, process, broker, cut)
        self._fetcher = Fetches(self._subscription, self._client, broker)
        self._subscription.register_fetch_waiters([])
        self._coordinator = GroupCoordinator(
            self._client,
            self._subscription,
            group_id=settings.group,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            rebalance_timeout_ms=settings.rebalance_timeout_ms,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            enable_auto_commit=False,
            assignors=(assignor,),
        )

    @override
    def __del__(self) -> None:
        """Close nothing, like a killed process."""


async def connect(
    settings: GroupSettings, assignor: CooperativeAssignor, process: Process, broker: Broker, cut: Cut
) -> SimulatedConsumer:
    """Connect like `mpsd.kafka.consumer.connected`, which retries until the broker answers."""
    trial = Connection(process.name, process, cut)
    while True:
        try:
            await broker.ask(trial, lambda: True)
        except KafkaConnectionError:
            await asyncio.sleep(0.2)
        else:
            return SimulatedConsumer(settings, assignor, process, broker, cut)
