"""A daemon for the admin service: real pipelines between doubles, and a cluster that says what a test wants."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from grpc import aio
from typing_extensions import override

from mps.admin.v1 import admin_pb2_grpc
from mpsd.admin.access import Access
from mpsd.admin.daemon import AdminSettings, ControlStatistics, Finding, GroupPosition, Members, WatchedFiles
from mpsd.admin.fleet import Fleet
from mpsd.admin.servicer import AdminServicer
from mpsd.core.audit import AuditEntry
from mpsd.core.control import EntityKey, Request
from mpsd.core.record import TopicPartition
from mpsd.core.resets import Move, To
from mpsd.errors import KafkaUnavailable
from mpsd.listeners.address import address_of, bind
from mpsd.listeners.grpc import bounded_server, serving_grpc
from mpsd.listeners.tokens import Token, Tokens
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replays import Replaying
from mpsd.pipeline.statistics import SubscriptionStatistics
from mpsd.ports import AuditLog, Peer
from mpsd.service.control import ControlPlane
from mpsd.service.steering import asked_of, steer
from tests.fakes.control import FakeAudit, FakeControlLog, FakeControlTopic
from tests.fakes.dead_letters import FakeDeadLetters
from tests.fakes.pipeline import Piped, piped
from tests.fakes.records import Row
from tests.fakes.replays import FakeDeadLetterLog, FakeRepublisher

TOKENS = {"consumer": "c" * 20, "viewer": "v" * 20, "operator": "o" * 20, "admin": "a" * 20}


class SharedControl:
    """The control topic that all daemons of a test read at once, unless one `lags`."""

    def __init__(self) -> None:
        self.changes: list[tuple[EntityKey, Mapping[str, Any] | None, dict[str, Any]]] = []
        self.entries: list[AuditEntry] = []
        self.error: Exception | None = None


class FakeControl:
    """`ControlChanges`: knows every change but the `lags` last ones."""

    def __init__(self, shared: SharedControl) -> None:
        self.shared = shared
        self.lags = 0
        self.history: AuditLog | None = None

    @property
    def revision(self) -> int:
        return len(self.shared.changes) - self.lags

    def waiting_for(self) -> str:
        return ""

    def statistics(self) -> ControlStatistics:
        return ControlStatistics(is_on=True, waiting_for=self.waiting_for(), revision=self.revision, ignored={})

    async def is_set(self, key: EntityKey, request_id: str) -> bool:
        if self.shared.error is not None:
            raise self.shared.error
        documents = [document for known, document, _ in self.shared.changes if known == key]
        asked = [said["request_id"] for _, _, said in self.shared.changes]
        return documents[-1:] not in ([], [None]) or request_id in asked

    def request(self, request_id: str) -> Request | None:
        for number, (key, _, said) in enumerate(self.shared.changes, 1):
            if said["request_id"] == request_id:
                return Request(key, number, 0)
        return None

    async def read_to_end(self) -> int:
        return self.revision

    async def audit(self, entry: AuditEntry) -> None:
        self.shared.entries.append(entry)

    async def change(self, key: EntityKey, document: Mapping[str, Any] | None, **said: Any) -> int:
        if self.shared.error is not None:
            raise self.shared.error
        self.shared.changes.append((key, document, said))
        return len(self.shared.changes)


class FollowingControl(FakeControl):
    """`ControlChanges`: the real one, on a topic in memory that it follows unless it is told not to.

    Attributes:
        follows: whether what others write is seen before somebody asks for the end.
    """

    def __init__(self, shared: SharedControl, topic: FakeControlTopic, address: str) -> None:
        super().__init__(shared)
        self.history = self.kept = FakeAudit()
        self.log = FakeControlLog(topic)
        self.plane = ControlPlane(self.log, self.kept, ["billing"], address)
        self.follows = True

    async def follow(self) -> None:
        while True:
            if self.follows:
                await self.plane.must_read_to_end()
            await asyncio.sleep(0.005)

    @property
    @override
    def revision(self) -> int:
        return self.plane.revision

    @override
    def waiting_for(self) -> str:
        return self.plane.waiting_for()

    @override
    def statistics(self) -> ControlStatistics:
        return super().statistics()._replace(ignored=self.plane.state.ignored)

    @override
    def request(self, request_id: str) -> Request | None:
        return self.plane.request(request_id)

    @override
    async def is_set(self, key: EntityKey, request_id: str) -> bool:
        return await self.plane.is_set(key, request_id)

    @override
    async def read_to_end(self) -> int:
        return await self.plane.read_to_end()

    @override
    async def audit(self, entry: AuditEntry) -> None:
        await self.plane.audit(entry)

    @override
    async def change(self, key: EntityKey, document: Mapping[str, Any] | None, **said: Any) -> int:
        return await self.plane.change(key, document, **said)


class FakeDaemon:
    """`Steerable`.

    Attributes:
        unstable: so many looks at the group find it rebalancing.
        cluster_error: raised where the cluster is asked.
    """

    started_at_s = 1_790_000_000.0

    def __init__(self, pipes: Sequence[Piped], control: FakeControl) -> None:
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
        return self.control.statistics()

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
    replaying: Replaying | None = None,
    topic: FakeControlTopic | None = None,
    dead_letters: FakeDeadLetterLog | None = None,
    sink: FakeDeadLetters | None = None,
    blocked_keys_max: int = 0,
) -> AsyncIterator[list[Served]]:
    """Daemons that share a group.

    Args:
        silent: so many more are members, and listen, but never answer.
        topic: makes the control state the real one, of this topic.
        dead letters: with `topic`: what replays read.
        sink: with `topic`: where dead letters of all of them go.
    """
    shared = SharedControl()
    async with AsyncExitStack() as stack:
        made = []
        ports = itertools.count(1)
        for _ in range(count):
            listener = bind("admin", "127.0.0.1:0")
            address = address_of(listener)
            if topic is not None:
                control: FakeControl = FollowingControl(shared, topic, address)
            else:
                control = FakeControl(shared)
            pipe = await stack.enter_async_context(_piped(control, dead_letters, replaying, sink, blocked_keys_max))
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


def _piped(
    control: FakeControl,
    dead_letters: FakeDeadLetterLog | None,
    replaying: Replaying | None,
    sink: FakeDeadLetters | None,
    blocked_keys_max: int,
) -> AbstractAsyncContextManager[Piped]:
    if isinstance(control, FollowingControl):
        return following_pipe(control, dead_letters, sink, blocked_keys_max)
    return piped(replaying=replaying)


@asynccontextmanager
async def following_pipe(
    control: FollowingControl,
    dead_letters: FakeDeadLetterLog | None = None,
    sink: FakeDeadLetters | None = None,
    blocked_keys_max: int = 0,
) -> AsyncIterator[Piped]:
    """Yield a pipeline that the control topic steers."""
    asked = asked_of(control.plane)
    replaying = Replaying(
        topic="letters",
        log=dead_letters or FakeDeadLetterLog(),
        republisher=FakeRepublisher(),
        replays_max=3,
        replayed_bytes_max=262_144,
        tasks_max=100,
        record=asked.record,
    )
    await control.plane.start()
    async with piped(asked, replaying, sink, commit_interval_s=0.02, blocked_keys_max=blocked_keys_max) as pipe:
        steer(control.plane, [pipe.pipeline])
        reading = asyncio.create_task(control.follow())
        try:
            yield pipe
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await control.plane.close()


def bearer(role: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {TOKENS[role]}")]


async def settled() -> None:
    """Let what was read be handed over."""
    for _ in range(20):
        await asyncio.sleep(0.005)
