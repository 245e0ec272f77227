"""A member of a consumer group: cooperative on a client library that knows only the eager protocol.

What the library does by itself, and what is done here about it (measured facts, of aiokafka 0.14):

- It revokes everything at each rebalance. Here nothing is: what the assignor says is compared with what is owned, in the
  step in which the library replaces its assignment, and positions of what stays are set again at once.
- It answers a commit that travels behind a JoinGroup with IllegalGeneration, which forces another rebalance. Commits wait
  from `on_partitions_revoked` until the assignment is there.
- It does not say when the membership was last confirmed. `_send_req` carries heartbeats, joins and syncs: one hook there
  keeps the lease.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, KafkaError, OffsetOutOfRangeError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata
from typing_extensions import override

from mpsd.core.balance import Claim
from mpsd.core.delivery import Assignment
from mpsd.core.record import TopicPartition
from mpsd.errors import CommitFenced, KafkaRefused, KafkaUnavailable, MpsError
from mpsd.kafka.assignor import CooperativeAssignor
from mpsd.kafka.connection import asking
from mpsd.kafka.positions import Positions
from mpsd.ports import AssignmentListener, CommitPoint, Fetched

log = logging.getLogger("mpsd.group")

COMMIT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 15.0
CONNECT_REST_MAX_S = 15.0
METADATA_AGE_MAX_MS = 30_000
"""New partitions and leaders that changed unnoticed are found within this time."""
NOBODY = ClientPartition("mps", -1)
"""Asking for it receives nothing, but keeps the poll alive."""
MEMBERSHIP_LOST = {22, 25}
"""IllegalGeneration and UnknownMemberId."""


def boottime_s() -> float:
    """A clock that runs while the process, or the machine, is stopped, where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """What a membership needs to know; ranges, defaults and reasons are the configuration's."""

    subscription: str
    group: str
    topics: tuple[str, ...]
    start: str | datetime
    out_of_range: str
    isolation_level: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    heartbeat_interval_ms: int
    fetch_bytes_max: int
    address: str = ""


class _Owned:
    """A partition of ours.

    Attributes:
        position: the offset that is read next; None until the committed one was looked up.
        leaving: it is being drained.
    """

    __slots__ = ("assignment", "key", "leaving", "position")

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.key = ClientPartition(*assignment.tp)
        self.position: int | None = None
        self.leaving = False


class KafkaGroup(ConsumerRebalanceListener):  # type: ignore[misc]  # the library is not typed
    """`RecordSource` on a real Kafka."""

    def __init__(self, settings: GroupSettings, options: Mapping[str, Any]) -> None:
        """Begin outside the group.

        Args:
            options: of every client: see `connection.client_options`.
        """
        self._settings = settings
        self._options = options
        self._lease_s = min(settings.session_timeout_ms, settings.rebalance_timeout_ms) / 1000
        self._lease_end_s = 0.0
        self._owned: dict[TopicPartition, _Owned] = {}
        self._member_id = ""
        self._joined = asyncio.Event()
        self._committing = asyncio.Lock()
        self._commit_task: asyncio.Task[Any] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._rejoin_wanted = False
        self._waiting = "connecting to Kafka"
        self._generations = 0
        self.share = 0.0

    # life
    async def start(self, listener: AssignmentListener) -> None:
        """See `RecordSource`."""
        self._listener = listener
        rest_s = 0.5
        while not await self._connect():
            await asyncio.sleep(rest_s)
            rest_s = min(CONNECT_REST_MAX_S, rest_s * 2)
        self._waiting = "joining the group"
        coordinator = self._consumer._coordinator
        self._send, coordinator._send_req = coordinator._send_req, self._send_and_renew
        self._consumer._subscription.begin_reassignment = lambda: None
        self._consumer.subscribe(list(self._settings.topics), listener=self)

    async def _connect(self) -> bool:
        """Find the topics and connect; says what is missing and returns False if it cannot be yet."""
        consumer = None
        try:
            with asking(f"read the topics of subscription {self._settings.subscription}"):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    missing = await self._missing_topics()
                    if missing:
                        raise KafkaUnavailable(
                            f"topic {', '.join(missing)} does not exist; it is read as soon as somebody creates it"
                        )
                    consumer = self._consumer = self._make_consumer()
                    await consumer.start()  # without topics: it does not join before it is hooked
        except MpsError as error:
            self._waiting = str(error)
            extra = {"code": error.code, "subscription": self._settings.subscription}
            log.warning("%s: waiting: %s", self._settings.subscription, error, extra=extra)
            if consumer is not None:
                await self._stop(consumer)
            return False
        return True

    async def _missing_topics(self) -> list[str]:
        admin = AIOKafkaAdminClient(**self._options)
        try:
            await admin.start()
            existing = set(await admin.list_topics())
        finally:
            await admin.close()
        return [topic for topic in self._settings.topics if topic not in existing]

    def _make_consumer(self) -> Any:
        settings = self._settings
        assignor = CooperativeAssignor(self._claims, self._take_assignment, settings.address)
        return AIOKafkaConsumer(
            **self._options,
            group_id=settings.group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level=settings.isolation_level,
            session_timeout_ms=settings.session_timeout_ms,
            rebalance_timeout_ms=settings.rebalance_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            fetch_max_bytes=settings.fetch_bytes_max,
            max_partition_fetch_bytes=min(1_048_576, settings.fetch_bytes_max),
            metadata_max_age_ms=METADATA_AGE_MAX_MS,
            partition_assignment_strategy=(assignor,),
        )

    async def close(self) -> None:
        """See `RecordSource`."""
        if self._loading is not None:
            self._loading.cancel()
        consumer = getattr(self, "_consumer", None)
        if consumer is not None:
            await self._stop(consumer)
        self._lease_end_s = 0.0

    async def _stop(self, consumer: Any) -> None:
        """Leave and disconnect; a broker that does not answer is not waited for."""
        with suppress(TimeoutError, KafkaError, OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await consumer.stop()

    # membership
    async def _send_and_renew(self, request: Any) -> Any:
        """Renews the lease, counted from the sending of what was answered without an error."""
        sent_s = boottime_s()
        response = await self._send(request)
        if isinstance(request, HeartbeatRequest | JoinGroupRequest | SyncGroupRequest):
            if response.error_code == 0:
                self._lease_end_s = max(self._lease_end_s, sent_s + self._lease_s)
            elif response.error_code in MEMBERSHIP_LOST:
                self._lease_end_s = 0.0
        return response

    def lease_left_s(self) -> float:
        """See `RecordSource`."""
        return self._lease_end_s - boottime_s()

    def _claims(self) -> dict[TopicPartition, Claim]:
        """Asked right before each JoinGroup, so this one place sees every loss of the membership."""
        if self._consumer._coordinator.member_id != self._member_id:
            for owned in list(self._owned.values()):
                self._drop(owned)
            if self._commit_task is not None:
                self._commit_task.cancel()
        self._rejoin_wanted = False
        return {tp: Claim(owned.assignment.epoch, owned.leaving) for tp, owned in self._owned.items()}

    def _drop(self, owned: _Owned) -> None:
        del self._owned[owned.assignment.tp]
        self._listener.on_lost(owned.assignment)

    @override
    async def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        """The library is about to send a JoinGroup: no commit may travel behind it."""
        self._joined.clear()
        async with self._committing:
            pass

    def _take_assignment(self, partitions: list[TopicPartition], leaving: set[TopicPartition], share: float) -> None:
        """Runs in the step in which the library replaces its assignment: nothing is fetched or reset before these seeks."""
        coordinator = self._consumer._coordinator
        self._member_id, generation = coordinator.member_id, coordinator.generation
        self._generations += 1
        self.share = share
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
                owned = self._owned[tp] = _Owned(Assignment(tp, generation))
            self._consumer.seek(owned.key, owned.position or 0)  # a valid position keeps the library's own reset away
            if owned.position is None or tp in leaving:
                self._consumer.pause(owned.key)
            self._tell_leaving(owned, tp in leaving)

    def _tell_leaving(self, owned: _Owned, leaving: bool) -> None:
        was_leaving, owned.leaving = owned.leaving, leaving
        if owned.position is None:
            return
        if leaving and not was_leaving:
            self._listener.on_leaving(owned.assignment)
        elif was_leaving and not leaving:
            self._listener.on_stays(owned.assignment)

    @override
    async def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        """The library has its new assignment: commits may go out, gained partitions are looked up."""
        self._joined.set()
        self._waiting = ""
        if self._rejoin_wanted:
            self._consumer._coordinator.request_rejoin()
        if self._loading is not None:
            self._loading.cancel()
        self._loading = asyncio.create_task(self._load())

    async def _load(self) -> None:
        """Look up where the gained partitions begin, until it succeeds; a rebalance cancels it and begins anew."""
        positions = Positions(
            self._consumer, self._settings.subscription, self._settings.start, self._settings.out_of_range
        )
        while gained := [owned for owned in self._owned.values() if owned.position is None]:
            try:
                with asking("look up where assigned partitions begin"):
                    found = await positions.look_up([owned.assignment.tp for owned in gained])
            except (KafkaUnavailable, KafkaRefused) as error:
                self._waiting = str(error)
                extra = {"code": error.code, "subscription": self._settings.subscription}
                log.warning("%s: waiting: %s", self._settings.subscription, error, extra=extra)
                await asyncio.sleep(1.0)
                continue
            self._waiting = ""
            for owned in gained:
                position = found[owned.assignment.tp]
                if position is None:
                    self._waiting = f"{owned.assignment.tp}: what was committed is gone, and out_of_range = stop"
                    return
                owned.position = position.next_offset
                self._consumer.seek(owned.key, position.next_offset)
                self._listener.on_assigned(owned.assignment, position)
                if owned.leaving:
                    self._listener.on_leaving(owned.assignment)
                else:
                    self._consumer.resume(owned.key)

    def release(self, assignments: Collection[Assignment]) -> None:
        """See `RecordSource`."""
        for assignment in assignments:
            owned = self._owned.get(assignment.tp)
            if owned is not None and owned.assignment is assignment:
                del self._owned[assignment.tp]
        if not any(owned.leaving for owned in self._owned.values()):
            self._rejoin_wanted = True
            self._consumer._coordinator.request_rejoin()

    # records
    async def fetch(self, wanted: Collection[Assignment], records_max: int, wait_s: float) -> dict[Assignment, Fetched]:
        """See `RecordSource`."""
        keys = [owned.key for a in wanted if (owned := self._owned.get(a.tp)) is not None and owned.assignment is a]
        try:
            with asking("fetch records"):
                got = await self._consumer.getmany(
                    *(keys or [NOBODY]), timeout_ms=int(wait_s * 1000) if keys else 0, max_records=max(1, records_max)
                )
        except KafkaUnavailable as error:
            if isinstance(error.__cause__, OffsetOutOfRangeError):
                await self._go_on(error.__cause__)
                return {}
            raise
        fetched: dict[Assignment, Fetched] = {}
        for key in keys:
            owned = self._owned.get(TopicPartition(*key))
            if owned is None or owned.position is None:
                continue
            records = got.get(key, [])
            if records and records[0].offset < owned.position:  # of an assignment before this one
                continue
            position = self._position(key)
            if records or position > owned.position:
                owned.position = max(position, owned.position)
                fetched[owned.assignment] = Fetched(records, owned.position, self._consumer.highwater(key) or -1)
        return fetched

    def _position(self, key: Any) -> int:
        """The offset that the library hands out next; it has passed markers and holes that hold no record."""
        assignment = self._consumer._subscription.subscription.assignment
        state = assignment.state_value(key) if assignment is not None else None
        return state.position if state is not None and state.has_valid_position else -1

    async def _go_on(self, error: OffsetOutOfRangeError) -> None:
        """Retention has taken what was to be read next."""
        positions = Positions(
            self._consumer, self._settings.subscription, self._settings.start, self._settings.out_of_range
        )
        for key, offset in dict(error.args[0]).items():
            owned = self._owned.get(TopicPartition(*key))
            if owned is None:
                continue
            with asking("look up the log's range"):
                next_offset = await positions.gone(owned.assignment.tp, offset)
            if next_offset is None:
                self._waiting = f"{owned.assignment.tp}: offset {offset} is gone, and out_of_range = stop"
                self._consumer.pause(key)
            elif next_offset < offset:  # the log is another one: what is held of the old one means nothing
                self._drop(owned)
                self._consumer._coordinator.request_rejoin()
            else:
                owned.position = next_offset
                self._consumer.seek(key, next_offset)

    # commits
    async def commit(self, points: Mapping[Assignment, CommitPoint]) -> None:
        """See `RecordSource`."""
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await self._joined.wait()
        except TimeoutError:
            raise KafkaUnavailable("could not commit: the group is rebalancing") from None
        async with self._committing:
            if not self._joined.is_set():
                raise KafkaUnavailable("could not commit: the group is rebalancing")
            for assignment in points:
                owned = self._owned.get(assignment.tp)
                if owned is None or owned.assignment is not assignment:
                    raise CommitFenced(f"could not commit: {assignment.tp} is somebody else's")
            offsets = {ClientPartition(*a.tp): OffsetAndMetadata(*point) for a, point in points.items()}
            self._commit_task = asyncio.create_task(self._consumer.commit(offsets))
            try:
                with asking("commit"):
                    async with asyncio.timeout(COMMIT_TIMEOUT_S):
                        await asyncio.wait([self._commit_task])
                    self._commit_task.result()
            except KafkaUnavailable as error:
                if isinstance(error.__cause__, CommitFailedError):
                    raise CommitFenced("could not commit: the group has gone on without this member") from error
                raise
            except asyncio.CancelledError:
                if self._commit_task.cancelled():
                    raise CommitFenced("could not commit: the membership ended meanwhile") from None
                raise
            finally:
                self._commit_task.cancel()
                self._commit_task = None

    def waiting_for(self) -> str:
        """See `RecordSource`."""
        return self._waiting

    def statistics(self) -> dict[str, int | float | str]:
        return {
            "partitions": len(self._owned),
            "generations": self._generations,
            "lease_left_s": round(self.lease_left_s(), 3),
        }
