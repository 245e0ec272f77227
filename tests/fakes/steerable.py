"""A daemon for the admin service: real pipelines between doubles, and a cluster that says what a test wants."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from grpc import aio
from typing_extensions import override

from mps.admin.v1 import admin_pb2_grpc
from mpsd.admin.access import Access
from mpsd.admin.daemon import AdminSettings, ControlStatistics, Finding, GroupPosition, Members, WatchedFiles
from mpsd.admin.fleet import Fleet
from mpsd.admin.servicer import AdminServicer
from mpsd.core.control import EntityKey
from mpsd.core.record import TopicPartition
from mpsd.core.resets import Move, To
from mpsd.errors import KafkaUnavailable
from mpsd.listeners.address import address_of, bind
from mpsd.listeners.grpc import bounded_server, serving_grpc
from mpsd.listeners.tokens import Token, Tokens
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replay.sender import Replaying
from mpsd.pipeline.statistics import SubscriptionStatistics
from mpsd.ports import SYSTEM_CLOCK, Peer
from mpsd.service.control import ControlPlane
from tests.fakes.control import FakeAudit, FakeControlLog, FakeControlTopic
from tests.fakes.dead_letters import FakeDeadLetters
from tests.fakes.pipeline import Piped, piped
from tests.fakes.records import Row
from tests.fakes.replays import FakeDeadLetterLog, FakeRepublisher

TOKENS = {"consumer": "c" * 20, "viewer": "v" * 20, "operator": "o" * 20, "admin": "a" * 20}


class FollowingControl(ControlPlane):
    """The real control plane on a topic in memory, which it follows unless it is told not to.

    Attributes:
        follows: what others write is read before somebody asks for the end.
        changes: those that were made through this one.
    """

    def __init__(self, topic: FakeControlTopic, address: str) -> None:
        self.log, self.kept = FakeControlLog(topic), FakeAudit()
        super().__init__(self.log, self.kept, ["billing"], address)
        self.follows = True
        self.changes: list[tuple[EntityKey, Mapping[str, Any] | None, dict[str, Any]]] = []

    async def follow(self) -> None:
        while True:
            if self.follows:
                await self.must_read_to_end()
            await asyncio.sleep(0.005)

    @override
    async def change(self, key: EntityKey, document: Mapping[str, Any] | None, **given: Any) -> int:
        revision = await super().change(key, document, **given)
        self.changes.append((key, document, given))
        return revision


class FakeDaemon:
    """`Steerable`.

    Attributes:
        unstable: so many looks at the group find it rebalancing.
        cluster_error: raised where the cluster is asked.
    """

    started_at_s = 1_790_000_000.0
    clock = SYSTEM_CLOCK

    def __init__(self, pipes: Sequence[Piped], control: FollowingControl) -> None:
        self.pipes = pipes
        self.control = control
        self.peer = Peer("", "", "")
        self.group_peers: Sequence[Peer] = ()
        self.unstable = 0
        self.committed = 60
        self.assigned: list[tuple[Peer, list[TopicPartition]]] = []
        self.cluster_error: KafkaUnavailable | None = None
        self.findings: Sequence[Finding] = ()
        self.diagnosed_within_s: list[float] = []
        self.settings: Mapping[str, str] = {}
        self.config_hash = "a1b2c3"
        self.not_ready_for: list[str] = []
        self.watched: Sequence[WatchedFiles] = ()
        self.dead_letter_records: Sequence[Row] = ()
        self.group_positions: Mapping[TopicPartition, GroupPosition] = {}
        self.asked_positions = 0

    @property
    def pipelines(self) -> Sequence[Pipeline]:
        return [pipe.pipeline for pipe in self.pipes]

    def statistics(self) -> Sequence[SubscriptionStatistics]:
        return [pipeline.statistics() for pipeline in self.pipelines]

    def not_alive(self) -> Sequence[str]:
        return []

    def watched_files(self) -> Sequence[WatchedFiles]:
        return self.watched

    def control_statistics(self) -> ControlStatistics:
        control = self.control
        return ControlStatistics(control.is_on, control.waiting_for(), control.revision, control.state.ignored)

    def not_ready(self) -> Sequence[str]:
        return self.not_ready_for

    async def diagnose(self, within_s: float) -> Sequence[Finding]:
        self.diagnosed_within_s.append(within_s)
        return self.findings

    async def members(self, group: str) -> Members:
        if self.cluster_error is not None:
            raise self.cluster_error
        self.unstable -= 1
        if self.unstable >= 0:
            return Members(is_stable=False, peers=[Peer("", "", "")])
        return Members(True, self.group_peers, self.assigned)

    @asynccontextmanager
    async def dead_letters(self, subscription: str) -> AsyncIterator[FakeDeadLetterLog]:
        if self.cluster_error is not None:
            raise self.cluster_error
        yield FakeDeadLetterLog(*self.dead_letter_records)

    async def moves(self, subscription: str, to: To) -> Mapping[TopicPartition, Move]:
        """One partition of a hundred records, of which half are committed at first."""
        if self.cluster_error is not None:
            raise self.cluster_error
        at = {"earliest": 10, "latest": 110}
        wanted = at[to] if isinstance(to, str) else 30 if not isinstance(to, Mapping) else next(iter(to.values()))
        return {TopicPartition("orders", 0): Move(committed=self.committed, to=wanted, log_start=10, log_end=110)}

    async def positions(self, group: str) -> Mapping[TopicPartition, GroupPosition]:
        self.asked_positions += 1
        if self.cluster_error is not None:
            raise self.cluster_error
        return self.group_positions

    async def partitions(self, subscription: str) -> Mapping[str, int]:
        if self.cluster_error is not None:
            raise self.cluster_error
        return {"orders": 4}


class Served:
    """A daemon on a listener of its own, and a stub for it."""

    def __init__(self, daemon: FakeDaemon, servicer: AdminServicer, channel: aio.Channel, pipe: Piped) -> None:
        self.daemon = daemon
        self.servicer = servicer
        self.channel = channel
        self.pipe = pipe
        self.stub: Any = admin_pb2_grpc.AdminStub(channel)

    @property
    def address(self) -> str:
        return self.daemon.peer.admin


def tokens() -> Tokens:
    entries = [
        {"name": role, "role": role, "token": text, **({"subscriptions": ["*"]} if role == "consumer" else {})}
        for role, text in TOKENS.items()
    ]
    return Tokens([Token.model_validate(entry) for entry in entries])


@asynccontextmanager
async def served(
    count: int = 1,
    *,
    known: Tokens | None = None,
    values: bool = False,
    confirm_timeout_s: float = 2.0,
    peer_timeout_s: float = 5.0,
    silent: int = 0,
    topic: FakeControlTopic | None = None,
    dead_letters: FakeDeadLetterLog | None = None,
    sink: FakeDeadLetters | None = None,
    blocked_keys_max: int = 0,
) -> AsyncIterator[list[Served]]:
    """Daemons that share a group.

    Args:
        silent: so many more are members, and listen, but never answer.
        topic: of the control state.
        dead_letters: replays read them.
        sink: takes the dead letters of all daemons.
    """
    topic = topic or FakeControlTopic()
    async with AsyncExitStack() as stack:
        made = []
        ports = itertools.count(1)
        for _ in range(count):
            listener = bind("admin", "127.0.0.1:0")
            address = address_of(listener)
            control = FollowingControl(topic, address)
            pipe = await stack.enter_async_context(following_pipe(control, dead_letters, sink, blocked_keys_max))
            daemon = FakeDaemon([pipe], control)
            port = next(ports)
            daemon.peer = Peer(address, f"127.0.0.1:{port}", "", f"instance{port}")
            fleet = Fleet(daemon, peer_timeout_s, None)
            settings = AdminSettings(values=values, confirm_timeout_s=confirm_timeout_s)
            servicer = AdminServicer(daemon, fleet, settings)
            server = bounded_server(interceptors=[Access(known, instance=daemon.peer.instance)])
            admin_pb2_grpc.add_AdminServicer_to_server(servicer, server)
            stack.push_async_callback(fleet.close)
            await stack.enter_async_context(serving_grpc("admin", server, listener, close_s=0.1))
            stack.callback(servicer.end)
            channel = await stack.enter_async_context(aio.insecure_channel(address))
            made.append(Served(daemon, servicer, channel, pipe))
        peers = [each.daemon.peer for each in made]
        for number in range(silent):
            deaf = stack.enter_context(bind("admin", "127.0.0.1:0"))
            peers.append(Peer(address_of(deaf), f"127.0.0.1:{9_000 + number}", "", f"deaf{number}"))
        for each in made:
            each.daemon.group_peers = peers
            each.pipe.pipeline.on_peers(peers)
        yield made
        for each in made:
            each.pipe.adapter.crash()  # what is in flight would be waited for


@asynccontextmanager
async def following_pipe(
    control: FollowingControl,
    dead_letters: FakeDeadLetterLog | None = None,
    sink: FakeDeadLetters | None = None,
    blocked_keys_max: int = 0,
) -> AsyncIterator[Piped]:
    """Yield a pipeline that the control topic steers."""
    replaying = Replaying(
        topic="letters",
        log=dead_letters or FakeDeadLetterLog(),
        republisher=FakeRepublisher(),
        replays_max=3,
        replayed_bytes_max=262_144,
        tasks_max=100,
        record=control.record,
    )
    await control.start()
    async with piped(control, replaying, sink, commit_interval_s=0.02, blocked_keys_max=blocked_keys_max) as pipe:
        reading = asyncio.create_task(control.follow())
        try:
            yield pipe
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await control.close()


def bearer(role: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {TOKENS[role]}")]


async def settled() -> None:
    """Let what was read be handed over."""
    for _ in range(20):
        await asyncio.sleep(0.005)
