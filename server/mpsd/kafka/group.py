"""A member of a consumer group: cooperative on a client library that knows only the eager protocol.

What the library does by itself, and what is done here about it (measured facts, of aiokafka 0.14):
- It revokes everything at each rebalance. Here nothing is: what the assignor says is compared with what is owned, in the
  step in which the library replaces its assignment, and positions of what stays are set again at once.
- A commit that travels behind a JoinGroup is answered IllegalGeneration, which forces another rebalance: see `membership`.
- It does not say when the membership was last confirmed: one hook where all its requests pass keeps the lease: see `membership`.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka import ConsumerRebalanceListener
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import InconsistentGroupProtocolError, OffsetOutOfRangeError
from typing_extensions import override

from mpsd.core.balance import Claim
from mpsd.core.delivery import Assignment
from mpsd.core.record import TopicPartition
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.kafka.assignor import CooperativeAssignor, Group
from mpsd.kafka.batches import Unreadable, collecting
from mpsd.kafka.connection import Options, asking, asking_within
from mpsd.kafka.consumer import CONNECT_TIMEOUT_S, Connect, GroupSettings, bound_prefetch, connected, mended, stop
from mpsd.kafka.group_monitor import REST_S, UNCONFIRMED, GroupMonitor, PositionLoader
from mpsd.kafka.membership import Commits, Lease, Membership, OwnedPartition, boottime_s
from mpsd.kafka.positions import Positions, topics_with_commits, watch_offset_fetches
from mpsd.ports import AssignmentListener, CommitPoint, Fetched, Position, SourceStatistics

log = logging.getLogger("mpsd.group")


UNREADABLE_REST_S = 30.0
"""Until a batch that could not be read is tried again: it may have been damaged on its way, or deleted since."""
NOBODY = ClientPartition("mps", -1)  # asking for it receives nothing, but keeps the poll alive


class KafkaGroup(ConsumerRebalanceListener):  # type: ignore[misc]  # the library is not typed
    """`RecordSource` on a real Kafka."""

    def __init__(
        self,
        settings: GroupSettings,
        options: Options,
        connect: Connect = connected,
        clock_s: Callable[[], float] = boottime_s,
    ) -> None:
        """Begin outside the group.

        Args:
            connect: makes the client library's consumer.
            clock_s: of the lease; it runs while the process is stopped.
        """
        self._settings = settings
        self._options = options
        self._connect = connect
        self._lease = Lease(settings.session_timeout_ms, settings.rebalance_timeout_ms, clock_s)
        self._commits = Commits()
        self._positions = Positions(settings.subscription, settings.start, settings.out_of_range)
        self._member = Membership(settings, self._lease, self._positions)
        self._owned = self._member.owned
        self._member_id = ""
        self._rejoin_wanted = False
        self._waiting = "connecting to Kafka"
        self._failures = ""
        self._generations = 0
        self._renewals = 0
        self._renewing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._loading = PositionLoader(self._member, self._begin)

    @property
    def _consumer(self) -> Any:
        return self._member.consumer

    async def start(self, listener: AssignmentListener) -> None:
        """See `RecordSource`."""
        self._listener = listener
        self._monitor = GroupMonitor(self._member, listener.on_log_end, self._begin_again)
        await self._join()
        self._watching = asyncio.create_task(self._monitor.run())

    async def _join(self) -> None:
        self._assignor = CooperativeAssignor(self._claims, self._take_assignment, self._settings.peer)
        waits = partial(setattr, self, "_waiting")
        self._member.consumer = await self._connect(self._settings, self._options, self._assignor, waits)
        watch_offset_fetches(self._consumer._coordinator)
        await self._look_before_joining()
        self._waiting = "joining the group"
        self._lease.hook(self._consumer._coordinator)
        self._consumer._subscription.begin_reassignment = lambda: None  # else getmany() sleeps through joins
        self._consumer.subscribe(list(self._settings.topics), listener=self)

    async def _look_before_joining(self) -> None:
        """Learn of which topics the group had commits before this member came, until it succeeds.

        Members that begin a group together must not take each other's first commits for those of an older group.
        """
        while self._settings.start != "earliest":
            try:
                async with asking_within(f"look up what group {self._settings.group} has committed", CONNECT_TIMEOUT_S):
                    found = await topics_with_commits(self._consumer, self._settings.topics)
            except (KafkaUnavailable, KafkaRefused) as error:
                self._waiting = str(error)
                extra = {"code": error.code, "subscription": self._settings.subscription}
                log.warning("%s: cannot join: %s; retrying", self._settings.subscription, error, extra=extra)
                await asyncio.sleep(REST_S)
            else:
                self._positions.begun = found
                return

    async def close(self) -> None:
        """See `RecordSource`."""
        self._loading.cancel()
        for task in filter(None, (self._watching, self._renewing)):
            task.cancel()
        if self._consumer is not None:
            await stop(self._consumer)
        self._lease.end()

    def lease_left_s(self) -> float:
        """See `RecordSource`."""
        return self._lease.left_s()

    def _claims(self) -> dict[TopicPartition, Claim]:
        """Return the claims; the library asks right before each JoinGroup, so every loss of the membership shows here."""
        if self._consumer._coordinator.member_id != self._member_id:
            for owned in list(self._owned.values()):
                self._drop(owned)
            self._commits.abandon()
        self._rejoin_wanted = False
        return {tp: Claim(owned.assignment.epoch, owned.leaving) for tp, owned in self._owned.items()}

    def _drop(self, owned: OwnedPartition) -> None:
        del self._owned[owned.assignment.tp]
        self._listener.on_lost(owned.assignment)

    @override
    async def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        """Stop commits, because the library is about to send a JoinGroup and no commit may travel behind it."""
        await self._commits.hold()

    def _take_assignment(self, partitions: list[TopicPartition], leaving: set[TopicPartition], group: Group) -> None:
        """Take an assignment in the step in which the library does, so that nothing is fetched or reset before these seeks."""
        coordinator = self._consumer._coordinator
        self._member_id, generation = coordinator.member_id, coordinator.generation
        self._generations += 1
        self._listener.on_share(group.share)
        self._listener.on_peers(group.peers)
        bound_prefetch(self._consumer, len(partitions), self._settings.fetch_bytes_max)
        self._positions.learn_topics(self._consumer, self._settings.topics)
        for tp in set(self._owned) - set(partitions):  # another's claim was later, or the topic is gone
            self._drop(self._owned[tp])
        for tp in partitions:
            owned = self._owned.get(tp)
            if owned is None and tp in leaving:  # released while the join was under way: it is free after the next
                self._rejoin_wanted = True
                self._consumer.seek(ClientPartition(*tp), 0)
                self._consumer.pause(ClientPartition(*tp))
                continue
            if owned is None:
                owned = self._owned[tp] = OwnedPartition(Assignment(tp, generation))
            self._consumer.seek(owned.key, owned.position or 0)  # a valid position keeps the library's own reset away
            if owned.position is None or tp in leaving:
                self._consumer.pause(owned.key)
            self._tell_leaving(owned, tp in leaving)

    def _tell_leaving(self, owned: OwnedPartition, leaving: bool) -> None:
        was_leaving, owned.leaving = owned.leaving, leaving
        if owned.position is None:
            return
        if leaving and not was_leaving:
            self._listener.on_leaving(owned.assignment)
        elif was_leaving and not leaving:
            self._listener.on_stays(owned.assignment)

    @override
    async def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        """Let commits out and look up gained partitions, because the library has its new assignment."""
        self._commits.let()
        self._waiting = ""
        if self._rejoin_wanted:
            self._consumer._coordinator.request_rejoin()
        self._loading.begin()

    def _begin(self, owned: OwnedPartition, position: Position | None) -> None:
        if position is None:
            owned.stopped = f"{owned.assignment.tp}: the committed offset is gone, and out_of_range = stop"
            return
        owned.position = position.next_offset
        self._consumer.seek(owned.key, position.next_offset)
        self._listener.on_assigned(owned.assignment, position)
        if owned.leaving:
            self._listener.on_leaving(owned.assignment)
        else:
            self._consumer.resume(owned.key)

    async def _begin_again(self, old: Sequence[OwnedPartition]) -> None:
        """Drop and recommit partitions of a recreated topic, because offsets of the old topic mean nothing in the new one."""
        with asking("look up where a topic begins"):
            starts = await self._consumer.beginning_offsets([owned.key for owned in old])
        old = [owned for owned in old if self._member.is_ours(owned.assignment)]
        for owned in old:
            self._positions.see_topics({owned.assignment.tp.topic: 0})
            self._drop(owned)
        points = {owned.assignment: CommitPoint(starts[owned.key], "") for owned in old}
        try:
            await self._commits.commit(self._consumer, points, lambda _: True)
        finally:
            self._consumer._coordinator.request_rejoin()

    def release(self, assignments: Collection[Assignment]) -> None:
        """See `RecordSource`."""
        self._assignor.releases += 1  # else the epoch of what comes back might stay
        for assignment in assignments:
            if self._member.is_ours(assignment):
                del self._owned[assignment.tp]
        if not any(owned.leaving for owned in self._owned.values()):
            self._rejoin_wanted = True
            self._consumer._coordinator.request_rejoin()

    async def fetch(self, wanted: Collection[Assignment], records_max: int, wait_s: float) -> dict[Assignment, Fetched]:
        """See `RecordSource`."""
        keys = [self._owned[assignment.tp].key for assignment in wanted if self._member.is_ours(assignment)]
        if wanted and not keys:
            await asyncio.sleep(wait_s)
        for task in filter(None, (self._watching, self._renewing, self._loading.failed)):
            if task.done():  # with a bug: it must not stay unseen
                task.result()
        if self._renewing is not None:
            return {}
        try:
            with collecting() as unreadable, asking("fetch records"):
                got = await self._consumer.getmany(
                    *(keys or [NOBODY]), timeout_ms=int(wait_s * 1000) if keys else 0, max_records=max(1, records_max)
                )
        except (KafkaUnavailable, KafkaRefused) as error:
            if isinstance(error.__cause__, OffsetOutOfRangeError):
                await self._go_on(error.__cause__)
                return {}
            self._failures = str(error)
            if isinstance(error.__cause__, InconsistentGroupProtocolError) or not mended(self._consumer):
                self._renewing = asyncio.create_task(self._renew())
            raise
        if self.lease_left_s() > 0:
            self._failures = ""
        fetched = taken(
            self._consumer, got, [owned for key in keys if (owned := self._owned.get(TopicPartition(*key)))]
        )
        for each in unreadable:
            self._stop_at(each)
        return fetched

    def _stop_at(self, batch: Unreadable) -> None:
        """Stop reading a partition for a while; records before the unreadable batch are still delivered."""
        if (owned := self._owned.get(TopicPartition(*batch.key))) is None:
            return
        self._consumer.pause(batch.key)
        self._listener.on_unreadable(owned.assignment, batch.offset, batch.reason)
        asyncio.get_running_loop().call_later(UNREADABLE_REST_S, self._read_on, owned)

    def _read_on(self, owned: OwnedPartition) -> None:
        if self._member.is_ours(owned.assignment) and not owned.leaving and not owned.stopped:
            self._consumer.resume(owned.key)

    async def _go_on(self, error: OffsetOutOfRangeError) -> None:
        """Set positions again, because retention took the record that was to be read next."""
        for key, offset in dict(error.args[0]).items():
            owned = self._owned.get(TopicPartition(*key))
            if owned is None:
                continue
            with asking("look up the log's range"):
                next_offset = await self._positions.gone(self._consumer, owned.assignment.tp, offset)
            if not self._member.is_ours(owned.assignment):
                continue
            if next_offset is None:
                owned.stopped = f"{owned.assignment.tp}: offset {offset} is gone, and out_of_range = stop"
                self._consumer.pause(key)
            elif next_offset < offset:  # the log is another one: what is held of the old one means nothing
                self._positions.see_topics({owned.assignment.tp.topic: 0})
                self._drop(owned)
                self._consumer._coordinator.request_rejoin()
            else:
                owned.position = next_offset
                self._consumer.seek(key, next_offset)

    async def _renew(self) -> None:
        """Replace the client, because this one cannot be repaired."""
        self._renewals += 1
        extra = {"code": "group.renewed", "subscription": self._settings.subscription}
        log.error(
            "%s: client failed: %s; reconnecting to Kafka", self._settings.subscription, self._failures, extra=extra
        )
        self._lease.end()
        await self._commits.hold()
        for owned in list(self._owned.values()):
            self._drop(owned)
        self._loading.cancel()
        await stop(self._consumer)
        self._member_id = ""
        await self._join()
        self._renewing = None

    async def commit(self, points: Mapping[Assignment, CommitPoint]) -> None:
        """See `RecordSource`."""
        await self._commits.commit(self._consumer, points, self._member.is_ours)

    def topics(self) -> dict[str, int]:
        """See `RecordSource`."""
        consumer = self._consumer
        found = (
            {} if consumer is None else {name: consumer.partitions_for_topic(name) for name in self._settings.topics}
        )
        return {topic: len(partitions) for topic, partitions in found.items() if partitions}

    def waiting_for(self) -> str:
        """See `RecordSource`."""
        if self._failures or self._waiting or self._loading.waiting:
            return self._failures or self._waiting or self._loading.waiting
        if self._monitor.missing:
            return f"topic {', '.join(self._monitor.missing)} is gone; reading starts once somebody creates it"
        if self.lease_left_s() <= 0:
            return UNCONFIRMED
        return next((owned.stopped for owned in self._owned.values() if owned.stopped), "")

    def statistics(self) -> SourceStatistics:
        numbers = {
            "partitions": len(self._owned),
            "generations": self._generations,
            "renewals": self._renewals,
            "lease_left_s": round(self.lease_left_s(), 3),
        }
        return SourceStatistics(self._positions.lost, numbers)


def taken(
    consumer: Any, got: Mapping[Any, Sequence[Any]], partitions: Iterable[OwnedPartition]
) -> dict[Assignment, Fetched]:
    """Return the new records of these partitions under their present assignments, and move their positions on."""
    fetched: dict[Assignment, Fetched] = {}
    for owned in partitions:
        if owned.position is None:
            continue
        records = got.get(owned.key, [])
        if records and records[0].offset < owned.position:  # of an assignment before this one
            continue
        position = _position(consumer, owned.key)
        if records or position > owned.position:
            owned.position = max(position, owned.position)
            fetched[owned.assignment] = Fetched(records, owned.position, consumer.highwater(owned.key) or -1)
    return fetched


def _position(consumer: Any, key: Any) -> int:
    """Return the offset that the library hands out next, behind markers and holes without a record."""
    assignment = consumer._subscription.subscription.assignment
    state = assignment.state_value(key) if assignment is not None else None
    return state.position if state is not None and state.has_valid_position else -1
