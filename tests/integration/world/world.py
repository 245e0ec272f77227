"""A corner of Kafka for one test, and everything that was seen in it."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol, Self

from mpsd.core.record import Record, TopicPartition
from mpsd.demo.broker.processes import GuardedProcesses
from mpsd.demo.guarantees import DeadLetterSaysWhy, FreedomIsUsed, Judge, every_guarantee
from mpsd.demo.guarantees.events import Committed, DaemonKilled, DeadLettered, LogEnd, Produced, SeenRecord, TimedEvent
from tests.integration.world.application import Application
from tests.integration.world.configuration import configuration
from tests.integration.world.daemon import Daemon
from tests.integration.world.kafka import Kafka, Message, send
from tests.integration.world.patience import PATIENCE_S, until
from tests.integration.world.stream_workers import StreamWorker

COMMIT_INTERVAL_S = 0.2
_WATCH_S = 0.05
_CHUNKS_PER_S = 20
_ROUNDS = 2
"""Looks at the commits, at their longest, that a commit may take beyond one: it asks the same broker, and is written."""


class Witness(Protocol):
    """A receiver of records, in whatever way."""

    @property
    def events(self) -> list[TimedEvent]: ...


class World:
    """Use it with `async with`; leaving it ends every daemon.

    Args:
        bootstrap_servers: in plain text and without restrictions, for the test's own hand.
        clients: the `[kafka]` table's keys by which daemons connect; the same servers in plain text if not given.
    """

    def __init__(self, bootstrap_servers: Sequence[str], clients: Mapping[str, Any] | None = None) -> None:
        self.kafka = Kafka(bootstrap_servers)
        self.clients = dict(clients or {})
        self.application = Application()
        self.daemons: list[Daemon] = []
        self._workers = 0
        self._produced: list[SeenRecord] = []
        self._seen: list[TimedEvent] = []
        self._groups: dict[str, dict[TopicPartition, int]] = {}
        self._round_s = 0.0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.processes = GuardedProcesses()
            stack.callback(self.processes.close)
            await stack.enter_async_context(self.kafka)
            await stack.enter_async_context(self.application)
            watcher = asyncio.create_task(self._watch())
            stack.push_async_callback(_cancel, watcher)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        for daemon in self.daemons:
            print(f"--- log of {daemon}\n{daemon.log_text()}")  # pytest shows it where the test has failed
        await self._stack.aclose()

    # topics and records
    async def create_topic(
        self, partitions: int = 1, *, topic: str = "", nodes: Sequence[int] = (), **configs: str
    ) -> str:
        """Create a topic, and return its name.

        Args:
            topic: its name; one that nobody has used if not given.
            nodes: where its replicas are; one anywhere if not given.
            configs: `retention_ms="1"` sets `retention.ms`.
        """
        topic = topic or name("t")
        await self.kafka.create_topic(topic, partitions, nodes, _settings(configs))
        return topic

    async def create_dead_letter_topic(self, topic: str, *, nodes: Sequence[int] = (), **configs: str) -> None:
        """Before the daemon would."""
        await self.kafka.create_topic(f"{topic}.dlq", 1, nodes, _settings(configs))

    async def produce(self, topic: str, messages: Iterable[Message]) -> list[SeenRecord]:
        return self.remember(await self.kafka.produce(topic, messages))

    @asynccontextmanager
    async def producing(self, topic: str, *, keys: int, per_s: int, value: bytes = b"") -> AsyncIterator[None]:
        """Produce records of so many keys, at this pace, until the end of the block.

        Args:
            value: of each; its number if not given.
        """
        stop = asyncio.Event()
        task = asyncio.create_task(self._load(topic, keys, per_s, value, stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def _load(self, topic: str, keys: int, per_s: int, value: bytes, stop: asyncio.Event) -> None:
        count = 0
        async with self.kafka.producer() as producer:
            while not stop.is_set():
                chunk = [keyed(number, keys) for number in range(count, count + max(1, per_s // _CHUNKS_PER_S))]
                chunk = [message._replace(value=value) for message in chunk] if value else chunk
                self.remember(await send(producer, topic, chunk))
                count += len(chunk)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 1 / _CHUNKS_PER_S)

    def remember(self, records: list[SeenRecord]) -> list[SeenRecord]:
        """Remember records that are to be settled."""
        self._produced += records
        return records

    # daemons
    def subscription(self, topic: str, **tables: Any) -> dict[str, Any]:
        """Return a subscription of one topic, whose group is named after the topic.

        Args:
            tables: added to; a key of `delivery` or any other table alone is enough.
        """
        given: dict[str, Any] = {
            "name": tables.pop("name", "orders"),
            "topics": tables.pop("topics", [topic]),
            "group": tables.pop("group", topic),
            "delivery": {"protocol": "rest", "url": self.application.url},
            "commit": {"interval_s": COMMIT_INTERVAL_S},
            "breaker": {"probe_interval_s": 0.2, "rejections_max": 0},  # many tests want hundreds of dead letters
            "retry": {"backoff_initial_s": 0.02, "backoff_max_s": 0.2},
            "dead_letter": {"topic": f"{topic}.dlq", "backoff_initial_s": 0.1, "backoff_max_s": 0.5},
        }
        for key, value in tables.items():
            given[key] = {**given.get(key, {}), **value} if isinstance(value, Mapping) else value
        self._groups.setdefault(given["group"], {})
        return given

    @property
    def directory(self) -> Path:
        """Return the directory of the daemons' files, which is removed with this world."""
        return self.processes.directory

    def configuration(self, *subscriptions: Mapping[str, Any], **tables: Any) -> str:
        kafka = {**self.clients, **tables.pop("kafka", {})}
        return configuration(self.kafka.bootstrap_servers, *subscriptions, kafka=kafka, **tables)

    def begin_daemon(
        self, *subscriptions: Mapping[str, Any], environment: Mapping[str, str] | None = None, **tables: Any
    ) -> Daemon:
        """Start a daemon, and do not wait for it."""
        config = self.configuration(*subscriptions, **tables)
        daemon = Daemon(self.processes, f"mpsd-{len(self.daemons) + 1}", config, environment)
        self.daemons.append(daemon)
        return daemon

    def run_daemon(self, config: str, environment: Mapping[str, str], run: Sequence[str]) -> Daemon:
        """Begin a daemon with the text of a configuration.

        Args:
            run: words to put before the command.
        """
        daemon = Daemon(self.processes, f"mpsd-{len(self.daemons) + 1}", config, environment, run)
        self.daemons.append(daemon)
        return daemon

    async def start_daemon(self, *subscriptions: Mapping[str, Any], **tables: Any) -> Daemon:
        """Start a daemon, and wait until it is ready."""
        return await self.begin_daemon(*subscriptions, **tables).ready()

    def stream_worker(
        self, address: str, *, credit: int = 100, work_s: float = 0.01, subscription: str = "orders"
    ) -> StreamWorker:
        """Return an application with one stream to this address."""
        self._workers += 1
        name = f"worker-{self._workers}"
        return StreamWorker(self.processes, name, address, subscription, credit=credit, work_s=work_s)

    async def kill(self, daemon: Daemon) -> None:
        await daemon.kill()
        self.given_up()

    def given_up(self) -> None:
        """Note that a daemon left the group unfinished, so that its deliveries in flight may come once more."""
        self._seen.append(DaemonKilled(time.monotonic()))

    # what became of it
    async def settled(self, *topics: str, group: str = "", timeout_s: float = PATIENCE_S) -> None:
        """Wait until all that the topics have is committed.

        Args:
            timeout_s: how long commits may stand still: what there is to do takes as long as it takes on a busy machine.
        """
        for topic in topics:

            async def lag(topic: str = topic) -> bool:
                ends, committed = await self.kafka.topics.log_end(topic), self._groups[group or topic]
                return all(committed.get(tp) == end for tp, end in ends.items())

            def committed(topic: str = topic) -> int:
                return sum(self._groups[group or topic].values())

            await until(lag, f"{topic} is settled: {self.application}", timeout_s, every_s=0.05, progress=committed)

    async def dead_letters(self, topic: str) -> list[Record]:
        """Return the dead letters of the subscription that `subscription` makes for the topic."""
        dead_letters = f"{topic}.dlq"
        return await self.kafka.topics.read_all(dead_letters) if await self.kafka.topics.exists(dead_letters) else []

    def committed(self, group: str) -> Mapping[TopicPartition, int]:
        """Return the commits as they were seen last."""
        return self._groups[group]

    async def judge(
        self,
        *topics: str,
        group: str = "",
        repeated_s: float = 0.0,
        at_once_min: int = 0,
        applications: Sequence[Witness] = (),
        replayed: bool = False,
        killed_late: bool = False,
    ) -> None:
        """Put all that was seen of the topics before every guarantee.

        Args:
            group: whose commits count; the topic's name if not given.
            repeated_s: what a kill of the daemon may undo; where anything may be, what commits took meanwhile is added.
            at_once_min: deliveries of one partition that must have been in flight at one time; 0: not asked.
            replayed: what was dead-lettered may be accepted afterwards.
            killed_late: a kill may undo `repeated_s` before the last commit that was seen of each partition: the commits
                of a busy machine can be late, and those of a group that rebalances are.

        Raises:
            ExceptionGroup: of every broken promise.
        """
        ends: dict[TopicPartition, int] = {}
        events: list[TimedEvent] = []
        for topic in topics:
            events += [_dead_lettered(record) for record in await self.dead_letters(topic)]
            ends |= await self.kafka.topics.log_end(topic)
            self._look(group or topic, await self.kafka.committed(group or topic))
        witnesses: Sequence[Witness] = applications or [self.application]
        for application in witnesses:
            events += application.events
        events += self._seen
        unasked: list[type] = [] if at_once_min else [FreedomIsUsed]
        unasked += [DeadLetterSaysWhy] if replayed else []
        repeated_s += _ROUNDS * self._round_s if repeated_s else 0.0
        judge = Judge([each for each in every_guarantee(repeated_s, at_once_min) if type(each) not in unasked])
        judge.see_all(Produced(record) for record in self._produced if record.topic in topics)
        seen: list[TimedEvent] = [event for event in events if _is_of(event, topics)]
        seen.sort(key=attrgetter("at_s"))
        judge.see_all(_kills_by_partition(seen, ends, repeated_s) if killed_late else seen)
        judge.see_all(LogEnd(tp, end) for tp, end in ends.items())
        judge.check()

    async def _watch(self) -> None:
        """See every commit soon after it was made, so that one that passes an unfinished record is seen in time."""
        while True:
            began_s = time.monotonic()
            for group in list(self._groups):
                self._look(group, await self.kafka.committed(group))
            self._round_s = max(self._round_s, time.monotonic() - began_s)
            await asyncio.sleep(_WATCH_S)

    def _look(self, group: str, committed: Mapping[TopicPartition, int]) -> None:
        known = self._groups.setdefault(group, {})
        for tp, next_offset in committed.items():
            if known.get(tp) != next_offset:
                known[tp] = next_offset
                self._seen.append(Committed(tp, next_offset, time.monotonic()))


def keyed(number: int, keys: int) -> Message:
    """Return the record of that number, with its keys in turn."""
    return Message(f"k{number % keys}".encode(), str(number).encode())


def _settings(configs: Mapping[str, str]) -> dict[str, str]:
    return {key.replace("_", "."): value for key, value in configs.items()}


def name(purpose: str) -> str:
    """Return a name that nobody has used."""
    return f"{purpose}-{uuid.uuid4().hex[:12]}"


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _is_of(event: TimedEvent, topics: Sequence[str]) -> bool:
    match event:
        case Committed(tp=tp):
            return tp.topic in topics
        case DaemonKilled():
            return True
        case _:
            record = getattr(event, "record", None)
            return record is None or record.topic in topics


def _kills_by_partition(
    events: Iterable[TimedEvent], partitions: Iterable[TopicPartition], repeated_s: float
) -> Iterator[TimedEvent]:
    """Yield the events, and in place of each kill one of each partition that reaches back to the last commit seen of it."""
    committed_s: dict[TopicPartition, float] = {}
    for event in events:
        match event:
            case DaemonKilled(at_s, None, None):
                for tp in partitions:
                    yield DaemonKilled(at_s, {tp}, committed_s.get(tp, -inf) - repeated_s)
                continue
            case Committed(tp=tp, at_s=at_s):
                committed_s[tp] = at_s
            case _:
                pass
        yield event


def _dead_lettered(dead_letter: Record) -> DeadLettered:
    headers = {key: (value or b"").decode() for key, value in dead_letter.headers}
    at_s = (dead_letter.timestamp + 1) / 1000 - (time.time() - time.monotonic())  # it was cut to a whole millisecond
    record = SeenRecord(
        headers["__dlq.errors.topic"],
        int(headers["__dlq.errors.partition"]),
        int(headers["__dlq.errors.offset"]),
        dead_letter.key,
    )
    return DeadLettered(record, at_s, headers["mps-dlq-disposition"], headers["mps-dlq-reason"])
