"""Several daemons that share a group, and what their deliveries look like from the application's side."""

import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, NamedTuple, Self

from aiokafka.admin import NewTopic
from aiokafka.errors import for_code

from mpsd.core.record import TopicPartition
from mpsd.demo.guarantees.events import DaemonKilled
from tests.integration.world import Answer, Daemon, Request, World, keyed, until

SOAK_MINUTES = float(os.environ.get("MINUTES") or 0)
"""Length of `make soak`, in which outages are long; 0 in `make test`."""
QUICK = {"session_timeout_ms": 2_500, "rebalance_timeout_ms": 2_000, "heartbeat_interval_ms": 200}
"""Members that are noticed sooner than in production, so that a test takes seconds."""
SESSION_S = 2.5
REPEATED_S = 1.0
"""Time that a kill may undo: the interval of commits, and what a commit takes on a busy machine."""
ARRIVES_S = 0.8
"""Time in which a busy application receives the last requests of a daemon that is frozen."""
REBALANCE_S = 2.0
"""While a join waits for a member that has died, its partners cannot commit: killed then, they repeat that much more."""
WORK_S = 0.005
PARTITIONS = 8
KEYS = 10_000
PER_S = 1_000
QUIET_CPU = 0.35
"""Share of one core; a busy loop takes all of it."""
QUIET_LINES = 60
"""For each ten seconds that a fault lasts: several causes, five lines each, and those of the recovery."""


class Seen(NamedTuple):
    """A delivery that reached the application."""

    at_s: float
    tp: TopicPartition
    epoch: int
    daemon: str


class Fleet:
    """Daemons of one subscription, each with a name that the application sees.

    Args:
        replicas: of every topic.
        user: as whom the daemons come, where access is controlled.
    """

    def __init__(self, world: World, replicas: int = 1, user: str = "") -> None:
        self.world = world
        self.topic = ""
        self.seen: list[Seen] = []
        self.behaviour: Callable[[Request], Answer | None] = lambda _: Answer(after_s=WORK_S)
        self._replicas = replicas
        self._user = user
        self._by_name: dict[str, Daemon] = {}
        world.application.behaviour = self._receive

    def _receive(self, request: Request) -> Answer | None:
        record = request.record
        tp = TopicPartition(record.topic, record.partition)
        self.seen.append(Seen(time.monotonic(), tp, request.epoch, request.headers["x-daemon"]))
        return self.behaviour(request)

    async def create_topic(self, partitions: int = PARTITIONS, **configs: str) -> str:
        """`retention_ms="1"` sets `retention.ms`."""
        self.topic = f"t-{uuid.uuid4().hex[:12]}"
        await self.recreate_topic(partitions, **configs)
        if self._user:
            await self.permit(topic=self.topic)
            await self.permit(group=self.topic)
            await self.world.kafka.allow(self._user, ["create", "write", "describe"], topic=f"{self.topic}.dlq")
            await self.world.kafka.allow(self._user, ["create", "read", "write", "describe"], topic="__mps_control")
        return self.topic

    async def permit(self, **name: str) -> None:
        """Let the daemons read a topic, or work in a group."""
        await self.world.kafka.allow(self._user, ["read", "describe"] if "topic" in name else ["read"], **name)

    async def forbid(self, topic: str = "", group: str = "") -> None:
        """Take it back."""
        await self.world.kafka.forbid(self._user, topic=topic, group=group)

    async def recreate_topic(self, partitions: int = PARTITIONS, **configs: str) -> None:
        """Create the topic again, which has been deleted."""
        settings = {key.replace("_", "."): value for key, value in configs.items()}
        new = NewTopic(self.topic, partitions, self._replicas, topic_configs=settings)
        for _, code, *_ in (await self.world.kafka.admin.create_topics([new])).topic_errors:
            if code:
                raise for_code(code)(self.topic)

    # members
    async def start(self, *names: str, kafka: dict[str, Any] | None = None, **tables: Any) -> None:
        """Start members and wait until all are ready; one of that name that has ended is started anew."""
        for name in names:
            self.begin(name, kafka=kafka, **tables)
        for name in names:
            await self[name].ready()

    def begin(self, name: str, kafka: dict[str, Any] | None = None, **tables: Any) -> Daemon:
        """Start one, without waiting."""
        delivery = {"headers": {"x-daemon": name}, **tables.pop("delivery", {})}
        subscription = self.world.subscription(self.topic, delivery=delivery, **tables)
        daemon = self._by_name[name] = self.world.begin_daemon(subscription, kafka={**QUICK, **(kafka or {})})
        return daemon

    def __getitem__(self, name: str) -> Daemon:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Daemon]:
        return iter(daemon for daemon in self._by_name.values() if daemon.exit_code() is None)

    async def balanced(self, *names: str) -> None:
        """Wait until each of these members, or of all that run, owns its share, and they own all partitions."""
        members = [self[name] for name in names] or list(self)
        least = PARTITIONS // len(members)

        async def is_balanced() -> bool:
            owned = [(await member.metrics()).sum("mps_assigned_partitions") for member in members]
            return sum(owned) == PARTITIONS and min(owned) >= least

        await until(is_balanced, "the partitions are shared")

    async def holds(self, name: str, count: int) -> None:
        """Wait until so many deliveries of the member are in flight, and nothing more may start."""

        async def is_full() -> bool:
            return (await self[name].metrics()).sum("mps_in_flight_records") == count

        await until(is_full, f"{name} has {count} in flight")

    async def has_committed(self, name: str) -> None:
        """Wait until a member of which nothing more finishes has nothing more to commit, as far as a second shows."""
        latest = -1.0

        async def is_quiet() -> bool:
            nonlocal latest
            before, latest = latest, (await self[name].metrics()).sum("mps_commits_total")
            return latest == before

        await until(is_quiet, f"{name} has committed what it finished", every_s=1.0)

    async def kill(self, name: str) -> None:
        await self.world.kill(self[name])

    def freeze(self, name: str) -> float:
        """SIGSTOP; for the bound on repetition it is a kill, as its successors cannot know what it finished."""
        self[name].signal(signal.SIGSTOP)
        at_s = self.cut()
        self.world._seen.append(DaemonKilled(at_s + ARRIVES_S))
        return at_s

    def thaw(self, name: str) -> float:
        at_s = time.monotonic()
        self[name].signal(signal.SIGCONT)
        return at_s

    def cut(self) -> float:
        """From now on what was finished and not committed may be done again: the fault keeps commits away."""
        at_s = time.monotonic()
        self.world._seen.append(DaemonKilled(at_s))
        return at_s

    # records
    @asynccontextmanager
    async def load(self, per_s: int = PER_S, keys: int = KEYS) -> AsyncIterator[None]:
        """Produce records at this pace while the block runs; enter the block once they flow."""
        before = self.accepted
        async with self.world.producing(self.topic, keys=keys, per_s=per_s):
            await until(lambda: self.accepted > before, "records flow")
            yield

    async def backlog(self, count: int, work_s: float) -> None:
        """Produce a backlog for a slow application, so that deliveries flow whatever Kafka does."""
        self.behaviour = lambda _: Answer(after_s=work_s)
        await self.world.produce(self.topic, [keyed(number, KEYS) for number in range(count)])

    @property
    def accepted(self) -> int:
        return len(self.world.application.accepted)

    async def more(self, count: int = 200, timeout_s: float = 30.0) -> None:
        """Wait until so many more are accepted."""
        goal = self.accepted + count
        await until(lambda: self.accepted >= goal, f"{count} more are accepted: {self.world.application}", timeout_s)

    async def settle(self, repeated_s: float = 0.0, timeout_s: float = 60.0) -> dict[str, object]:
        """Wait until all is settled, judge it, and say what it cost.

        Raises:
            ExceptionGroup: of every broken promise.
        """
        await self.world.settled(self.topic, timeout_s=timeout_s)
        await self.world.judge(self.topic, repeated_s=repeated_s, killed_late=True)
        again = sum(count - 1 for count in self.world.application.accepted.values())
        return {"records": self.accepted, "lost": 0, "again": again, "out_of_order": 0, "overlaps": 0}

    # what was seen
    def stay_gap_s(self) -> float:
        """Return the longest pause between two deliveries of a partition by one owner in one tenure."""
        tenures: dict[tuple[TopicPartition, int], list[float]] = {}
        for seen in self.seen:
            tenures.setdefault((seen.tp, seen.epoch), []).append(seen.at_s)
        return max((b - a for times in tenures.values() for a, b in pairwise(times)), default=0.0)

    def pause_s(self, since_s: float) -> float:
        """From then to the next delivery of anything."""
        return min((seen.at_s for seen in self.seen if seen.at_s > since_s), default=since_s) - since_s

    def early(self, name: str, thawed_s: float) -> Sequence[Seen]:
        """Deliveries begun after a thaw in a tenure of before it."""
        old = {(seen.tp, seen.epoch) for seen in self.seen if seen.daemon == name and seen.at_s < thawed_s}
        late = [seen for seen in self.seen if seen.daemon == name and seen.at_s >= thawed_s]
        return [seen for seen in late if (seen.tp, seen.epoch) in old]


async def lasts(seconds: float) -> None:
    """Let a fault go on for so long."""
    end_s = time.monotonic() + seconds
    await until(lambda: time.monotonic() >= end_s, "time goes on", seconds + 30.0)


class Quiet:
    """The work of daemons while they can do nothing.

    Use it with `with`: at the end no daemon has been in a busy loop, nor has it flooded its log.
    """

    def __init__(self, *daemons: Daemon) -> None:
        self._daemons = daemons
        self.cpu_share = 0.0
        self.lines = 0

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        self._before = [(daemon.cpu_s(), len(daemon.log())) for daemon in self._daemons]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        lasted_s = max(1.0, time.monotonic() - self._began_s)
        for daemon, (cpu_s, lines) in zip(self._daemons, self._before, strict=True):
            self.cpu_share = max(self.cpu_share, (daemon.cpu_s() - cpu_s) / lasted_s)
            self.lines = max(self.lines, len(daemon.log()) - lines)
        if kind is None:
            assert self.cpu_share < QUIET_CPU, f"{self.cpu_share:.2f} of a core while nothing could be done"
            assert self.lines < QUIET_LINES * max(1.0, lasted_s / 10.0), f"{self.lines} log lines in {lasted_s:.1f} s"

    @property
    def figures(self) -> dict[str, object]:
        return {"cpu_share": self.cpu_share, "log_lines": self.lines}
