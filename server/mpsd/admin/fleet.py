"""The other instances: asked all at once, each within a bound, and none left out because it does not answer."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import grpc
from grpc import aio

from mps.admin.v1 import admin_pb2 as pb
from mps.admin.v1 import admin_pb2_grpc as pb_grpc
from mpsd import __version__
from mpsd.admin.daemon import ControlStatistics, Steerable
from mpsd.admin.wire import state_of, timestamp
from mpsd.config import Admin
from mpsd.listeners.grpc import MESSAGE_BYTES_MAX
from mpsd.listeners.reach import faults
from mpsd.listeners.tls import check_authorities
from mpsd.ports import Peer

INSTANCE_KEY = "mps-instance"
"""Metadata of a call to another instance: which one is meant. Whoever else is reached refuses the call."""
TIMEOUT_S_MAX = 10.0
"""However long the caller would wait."""
MARGIN = 0.2
"""Part of the caller's time that is kept for putting the answer together and sending it."""
CHANNELS_MAX = 256
"""Connections to other instances; the one that was not used for longest is closed first."""
PEERS_AT_ONCE = 64
PROBLEM_CHARS_MAX = 300
PROBLEM_BYTES_MAX = 1_024
_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX * 16),  # 1,000 lanes with key and value
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),  # one that is back is seen with the next question
    ("grpc.enable_http_proxy", 0),
)

Response = TypeVar("Response")
Ask = Callable[[Any, float, Sequence[tuple[str, str]]], Awaitable[Response]]
"""Makes one call: with a stub, within so many seconds, with this metadata."""


class Answers(NamedTuple, Generic[Response]):
    """The answers of other instances.

    Attributes:
        given: of those that answered, with who it was.
        silent: those that did not, and why.
    """

    given: Sequence[tuple[Peer, Response]]
    silent: Sequence[pb.Instance]


def peer_credentials(admin: Admin) -> grpc.ChannelCredentials | None:
    """Return the credentials for calls to other instances: encrypted if this instance is; None for plain text.

    All instances of a fleet are configured alike: where clients need a certificate, this one shows its own.

    Raises:
        ConfigError: a file does not work.
    """
    tls = admin.tls
    if tls is None and admin.peers_ca is None:
        return None
    check_authorities("admin", admin.peers_ca)
    root = Path(admin.peers_ca).read_bytes() if admin.peers_ca else None
    shows = tls is not None and tls.client_ca is not None
    return grpc.ssl_channel_credentials(
        root,
        Path(tls.key).read_bytes() if tls is not None and shows else None,
        Path(tls.cert).read_bytes() if tls is not None and shows else None,
    )


class Fleet:
    """The other instances that share a group with this one.

    Holds at most: `CHANNELS_MAX` connections.
    """

    def __init__(self, daemon: Steerable, peer_timeout_s: float, credentials: grpc.ChannelCredentials | None) -> None:
        self._daemon = daemon
        self._timeout_s = min(peer_timeout_s, TIMEOUT_S_MAX)
        self._credentials = credentials
        self._channels: OrderedDict[str, aio.Channel] = OrderedDict()
        self._busy: dict[str, int] = {}
        self._gate = asyncio.Semaphore(PEERS_AT_ONCE)
        self._retired: list[aio.Channel] = []

    def renew(self, credentials: grpc.ChannelCredentials | None) -> None:
        """Call others with other certificates from the next call on; calls under way end as they began."""
        self._credentials = credentials
        self._retired += self._channels.values()
        self._channels.clear()

    def others(self, group: str = "") -> list[Peer]:
        """Return the members of a group, or of all groups, without this one."""
        peers = {
            peer
            for pipeline in self._daemon.pipelines
            if group in {"", pipeline.settings.sender.group}
            for peer in pipeline.peers
        }
        return sorted(peers - {self._daemon.peer})

    async def ask(
        self,
        peers: Iterable[Peer],
        ask: Ask[Response],
        metadata: Sequence[tuple[str, str]] = (),
        left_s: float | None = None,
        given_s: float | None = None,
        patience_s: float | None = None,
    ) -> Answers[Response]:
        """Ask all at once.

        Args:
            metadata: the caller's credentials.
            left_s: how long the caller will wait; None: for ever.
            given_s: how long they were asked for an answer in all, where this call is one of several; None: it is the
                first. Who is silent is said to have been so for this long.
            patience_s: how long one may take, up to `TIMEOUT_S_MAX`; None: as long as is configured.
        """
        bound_s = self._timeout_s if patience_s is None else max(self._timeout_s, min(patience_s, TIMEOUT_S_MAX))
        timeout_s = min(bound_s, left_s * (1 - MARGIN) if left_s is not None else TIMEOUT_S_MAX)
        peers = list(peers)
        wrong = faults({self._daemon.peer, *peers})
        found = await asyncio.gather(
            *(
                nothing_from(wrong[peer])
                if peer in wrong
                else self._ask(peer, ask, metadata, timeout_s, given_s or timeout_s)
                for peer in peers
            )
        )
        return Answers(
            [(peer, said) for peer, (said, _) in zip(peers, found, strict=True) if said is not None],
            [silent(peer, problem) for peer, (said, problem) in zip(peers, found, strict=True) if said is None],
        )

    async def _ask(
        self, peer: Peer, ask: Ask[Response], metadata: Sequence[tuple[str, str]], timeout_s: float, given_s: float
    ) -> tuple[Response | None, str]:
        address = peer.admin
        metadata = [*metadata, (INSTANCE_KEY, peer.instance)] if peer.instance else metadata
        self._busy[address] = self._busy.get(address, 0) + 1
        try:
            async with asyncio.timeout(timeout_s), self._gate:
                stub: Any = pb_grpc.AdminStub(self._channel(address))
                return await ask(stub, timeout_s, metadata), ""
        except TimeoutError:
            return None, f"no answer within {given_s:.3g} s"
        except aio.AioRpcError as error:
            return None, _problem(error, given_s)
        finally:
            self._busy[address] -= 1
            if not self._busy[address]:
                del self._busy[address]
            await self._close_oldest()

    def _channel(self, address: str) -> aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = (
                aio.secure_channel(address, self._credentials, _OPTIONS)
                if self._credentials is not None
                else aio.insecure_channel(address, _OPTIONS)
            )
            self._channels[address] = channel
        self._channels.move_to_end(address)
        return channel

    async def _close_oldest(self) -> None:
        while self._retired and not self._busy:
            await self._retired.pop().close()
        idle = [address for address in self._channels if address not in self._busy]
        for address in idle[: max(0, len(self._channels) - CHANNELS_MAX)]:
            await self._channels.pop(address).close()

    async def close(self) -> None:
        """Hang up; calls under way fail."""
        self._retired += self._channels.values()
        self._channels.clear()
        while self._retired:
            await self._retired.pop().close()


async def nothing_from(fault: str) -> tuple[None, str]:
    """Stand in for the answer of an instance that cannot be asked."""
    return None, fault


def silent(peer: Peer, problem: str) -> pb.Instance:
    """Describe an instance that did not answer."""
    return pb.Instance(
        address=peer.admin, answered=False, problem=problem, control_revision=-1, id=peer.instance, host=peer.host
    )


def instance_of(daemon: Steerable, fault: str | None = None) -> pb.Instance:
    """Describe this daemon as it sees itself.

    Args:
        fault: what is wrong with the address that it advertises; None: look it up among the members that it knows.
    """
    control = daemon.control_statistics()
    if fault is None:
        fault = faults(members_of(daemon)).get(daemon.peer, "")
    broken = [f"{each.name} cannot be reloaded: {each.broken}" for each in daemon.watched_files() if each.broken]
    problem = [
        *daemon.not_alive(),
        *daemon.not_ready(),
        *_control_problem(control),
        *([fault] if fault else []),
        *broken,
    ]
    return pb.Instance(
        address=daemon.peer.admin,
        answered=True,
        problem="; ".join(problem)[:PROBLEM_BYTES_MAX],
        version=__version__,
        started_at=timestamp(int(daemon.started_at_s * 1000)),
        partitions=sum(len(pipeline.pending.queues) for pipeline in daemon.pipelines),
        control_revision=control.revision,
        control_records_ignored=sum(control.ignored.values()),
        id=daemon.peer.instance,
        host=daemon.peer.host,
    )


def members_of(daemon: Steerable) -> set[Peer]:
    """Return all instances that share a group with this one, as of the last rebalance, and this one."""
    return {daemon.peer, *(peer for pipeline in daemon.pipelines for peer in pipeline.peers)}


def _control_problem(control: ControlStatistics) -> list[str]:
    return (
        [f"the control topic cannot be read, and the changes read before stay in effect: {control.waiting_for}"]
        if control.waiting_for
        else []
    )


def _problem(error: aio.AioRpcError, given_s: float) -> str:
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no answer within {given_s:.3g} s"
        case grpc.StatusCode.UNIMPLEMENTED:
            return "its version does not know this call: bring it to this one"
        case grpc.StatusCode.UNAVAILABLE:
            return why(error.details() or "it is out of reach")[:PROBLEM_CHARS_MAX]
        case code:
            return f"{code.name}: {error.details()}"[:PROBLEM_CHARS_MAX]


def why(details: str) -> str:
    """Return the last cause in an error text of gRPC, without the address and the status, which the caller names already."""
    words = details.rpartition("last error: ")[2]
    return re.sub(r"^(?:[A-Z_]+: |ipv[46]:\S+: )+", "", words) or details


class LanePosition(NamedTuple):
    """The position of a lane in a list: lanes are sorted by the time at which their head was read, then by the head."""

    read_at_us: int
    topic: str
    partition: int
    offset: int


def lane_position(lane: pb.Lane) -> LanePosition:
    return LanePosition(lane.read_at.ToMicroseconds(), lane.head.topic, lane.head.partition, lane.head.offset)


def merge_status(answers: Sequence[pb.Status], instances: Iterable[pb.Instance]) -> pb.Status:
    """Merge the answers of the instances into the status of the fleet.

    Args:
        answers: of one instance each, at least one.
        instances: all, those among them that did not answer.
    """
    newest_first = sorted(
        answers, key=_revision, reverse=True
    )  # what operators decided is said by who knows most of it
    merged: dict[str, pb.SubscriptionStatus] = {}
    for answer in newest_first:
        for said in answer.subscriptions:
            if said.name in merged:
                _add(merged[said.name], said)
            else:
                merged[said.name] = pb.SubscriptionStatus()
                merged[said.name].CopyFrom(said)
    for said in merged.values():
        partitions = merge_partitions(said.partitions)
        del said.partitions[:]
        said.partitions.extend(partitions)
    return pb.Status(
        taken_at=max((answer.taken_at for answer in answers), key=lambda at: at.ToNanoseconds()),
        subscriptions=[merged[name] for name in sorted(merged)],
        instances=(listed := sort_instances(instances)),
        departures=merge_departures((each for answer in answers for each in answer.departures), listed),
        states=newest_first[0].states,
    )


def merge_departures(departures: Iterable[pb.Departure], instances: Iterable[pb.Instance]) -> list[pb.Departure]:
    """Return the latest of each daemon that is not there, the last first."""
    latest: dict[str, pb.Departure] = {}
    for each in departures:
        if each.address not in latest or each.left_at.ToNanoseconds() > latest[each.address].left_at.ToNanoseconds():
            latest[each.address] = each
    for instance in instances:
        latest.pop(instance.address, None)
    return sorted(latest.values(), key=lambda each: -each.left_at.ToNanoseconds())


def merge_partitions(partitions: Iterable[pb.PartitionStatus]) -> list[pb.PartitionStatus]:
    """Return the partitions, sorted; of two owners, which a moving partition has, the one of the higher epoch."""
    owned: dict[tuple[str, int], pb.PartitionStatus] = {}
    for part in partitions:
        before = owned.get((part.topic, part.partition))
        if before is None or part.epoch > before.epoch:
            owned[part.topic, part.partition] = part
    return [owned[tp] for tp in sorted(owned)]


def merge_lanes(answers: Iterable[Iterable[pb.Lane]], lanes_max: int) -> list[pb.Lane]:
    """Return the lanes that were read first; a lane that two instances hold is listed once."""
    lanes = sorted((lane for answer in answers for lane in answer), key=lane_position)
    heads: set[tuple[str, int, int]] = set()
    merged = []
    for lane in lanes:
        head = (lane.head.topic, lane.head.partition, lane.head.offset)
        if head not in heads:
            heads.add(head)
            merged.append(lane)
    return merged[:lanes_max]


def sort_instances(instances: Iterable[pb.Instance]) -> list[pb.Instance]:
    return sorted(instances, key=lambda instance: (instance.address, instance.id))


def _revision(answer: pb.Status) -> int:
    return max((instance.control_revision for instance in answer.instances), default=-1)


def _add(total: pb.SubscriptionStatus, said: pb.SubscriptionStatus) -> None:
    if state_of(said.state).rank > state_of(total.state).rank:
        total.state, total.state_severity, total.state_reason = said.state, said.state_severity, said.state_reason
    flow, more = total.flow, said.flow
    if more.HasField("oldest") and (
        not flow.HasField("oldest") or more.lag_age.ToNanoseconds() > flow.lag_age.ToNanoseconds()
    ):
        flow.oldest.CopyFrom(more.oldest)
        flow.lag_age.CopyFrom(more.lag_age)
    flow.lag_records += more.lag_records
    flow.pending_records += more.pending_records
    flow.pending_bytes += more.pending_bytes
    flow.in_flight_records += more.in_flight_records
    flow.backing_off_records += more.backing_off_records
    total.delivered_per_s += said.delivered_per_s
    total.retried_per_s += said.retried_per_s
    total.dead_letters += said.dead_letters
    if said.HasField("unresolved_dead_letters"):  # each says it of the whole subscription
        total.unresolved_dead_letters = max(total.unresolved_dead_letters, said.unresolved_dead_letters)
    total.blocked_keys = max(total.blocked_keys, said.blocked_keys)  # each says it of the whole subscription
    if said.HasField("tightest") and (
        not total.HasField("tightest") or said.tightest.room_records < total.tightest.room_records
    ):
        total.tightest.CopyFrom(said.tightest)
    if said.HasField("endpoint"):
        waiting = total.endpoint.waiting_records + said.endpoint.waiting_records
        if not total.HasField("endpoint") or said.endpoint.since.ToNanoseconds() < total.endpoint.since.ToNanoseconds():
            total.endpoint.CopyFrom(said.endpoint)
        total.endpoint.waiting_records = waiting
    if said.HasField("last_failure") and _failed_at(said) > _failed_at(total):
        total.last_failure.CopyFrom(said.last_failure)
    total.partitions.extend(said.partitions)


def _failed_at(said: pb.SubscriptionStatus) -> int:
    return said.last_failure.failed_at.ToNanoseconds() if said.HasField("last_failure") else -1
