"""The path of a record of one subscription, from the broker to the application and back; its start and its end."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from mpsd.core.brake import BRAKE, BrakeRecord
from mpsd.core.breaker import EndpointState
from mpsd.core.delivery import Assignment
from mpsd.core.departures import Departures
from mpsd.core.rate import TokenBucket
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay_book import KINDS, ReplayBook
from mpsd.core.retry_policy import RetryPolicy
from mpsd.core.states import ALL_WELL, DeliveryState, Situation
from mpsd.errors import MpsError
from mpsd.pipeline.committer import Committer
from mpsd.pipeline.control.blocks import BlockedKeys
from mpsd.pipeline.control.controls import Controls, decided
from mpsd.pipeline.control.resets import Resets
from mpsd.pipeline.dead_letter_writer import DeadLetterWriter
from mpsd.pipeline.endpoint import Endpoint
from mpsd.pipeline.handover import Exits, Handover
from mpsd.pipeline.offset_maps import OffsetMaps
from mpsd.pipeline.order_iterator import OrderIterator
from mpsd.pipeline.pending_queue import PartitionQueue, PendingBudget, PendingQueue
from mpsd.pipeline.reader import Reader
from mpsd.pipeline.receivers import Receivers
from mpsd.pipeline.replay.sender import Replaying
from mpsd.pipeline.replay.tasks import Replays
from mpsd.pipeline.settings import Settings
from mpsd.pipeline.skips import Skips
from mpsd.pipeline.statistics import SubscriptionStatistics, partition_statistics
from mpsd.pipeline.writer import Application, Writer
from mpsd.ports import (
    SYSTEM_CLOCK,
    Clock,
    Control,
    DeadLetterSink,
    DeliveryAdapter,
    DlqPosition,
    Peer,
    Position,
    RecordSource,
)

log = logging.getLogger("mpsd.pipeline")

PROCESS_NUMBER_MAX = (1 << 53) - 2
"""A process tells its own control records by a random number; every JSON reader knows numbers up to 2**53."""
COMMIT_S_MIN = 1.0
"""However long deliveries took to finish, the last commit gets this time."""


class Pipeline:
    """Reader → PendingQueue → OrderIterator → Writer → Committer, for one consumer group and one endpoint.

    Takes: assignments and records of its source.
    Gives: deliveries to its adapter, commits to its source, dead letters to its sink.
    Holds at most: what its stages hold.
    """

    def __init__(
        self,
        settings: Settings,
        source: RecordSource,
        adapter: DeliveryAdapter,
        sink: DeadLetterSink,
        budget: PendingBudget,
        control: Control,
        clock: Clock = SYSTEM_CLOCK,
        replaying: Replaying | None = None,
    ) -> None:
        self.settings = settings
        self._source = source
        self.adapter = adapter
        self._sink = sink
        self._clock = clock
        self.policy = RetryPolicy(settings.rules)
        self._order = OrderIterator(settings.runs_max)
        self.maps = OffsetMaps(settings.name, settings.map_space)
        self.pending = PendingQueue(
            settings.ordering, settings.records_max, settings.bytes_max, budget, self._on_ready, self._on_room,
            self._on_full,
        )  # fmt: skip
        self.reader = Reader(source, self.pending, settings.name, clock)
        group, keys_max = settings.sender.group, settings.blocked_keys_max
        self.blocked = BlockedKeys(
            group, settings.name, keys_max, control, self.pending, source.lease_left_s, self._on_blocked_keys_room
        )
        self._dead_letters = DeadLetterWriter(
            sink,
            settings.sender,
            settings.dead_lettering,
            self.pending,
            self.blocked,
            clock,
            source.lease_left_s,
        )
        bucket = TokenBucket(settings.rate_max_per_s or None, clock.monotonic_s())
        application = Application(adapter=adapter, policy=self.policy, bucket=bucket)
        self.writer = Writer(
            settings.name, self.pending, self._order, application, source, self._dead_letters.dead_letter, clock,
            self._on_endpoint,
        )  # fmt: skip
        self.endpoint = Endpoint(
            settings.name, group, settings.sender.endpoint, self.policy.breaker, self.pending, control, clock,
            1 + int(clock.jitter() * PROCESS_NUMBER_MAX),
        )  # fmt: skip
        self.committer = Committer(settings.name, source, self.pending, self.maps, settings.commit_interval_s)
        self._skips = Skips(self.pending, self.writer, self._dead_letters)
        self.replays = (
            Replays(settings, replaying, self.pending, self.blocked, source.lease_left_s, clock) if replaying else None
        )
        self._tasks: list[asyncio.Task[None]] = []
        exits = Exits(adapter=adapter, dead_letters=self._dead_letters, committer=self.committer, replays=self.replays)
        self._handover = Handover(settings, source, self.pending, exits, self._forget, self._on_task_done, clock)
        resets = Resets(self.maps, self._handover.reset, clock)
        self.controls = Controls(
            control, settings, self.pending, self.writer, resets, clock, self._on_task_done,
            self.blocked.begin,
        )  # fmt: skip
        self.receivers = (
            Receivers(
                settings.name, settings.sender.endpoint, settings.receiver_timeout_s, adapter, self.pending.queues,
                lambda: self.writer.in_flight, clock.monotonic_s,
            )
            if settings.receiver_timeout_s is not None
            else None
        )  # fmt: skip
        self._aborting: set[asyncio.Task[None]] = set()
        self.peers: Sequence[Peer] = ()
        self._on_members: Callable[[], None] = lambda: None
        self._departures = Departures()
        self.topics = source.topics
        self._unresolved = -1
        self.state = DeliveryState.STARTING
        self.reason = ""
        control.listen(BRAKE.name, decided(BRAKE, group, settings.name, lambda _, record: self.set_brake(record)))
        if self.replays is not None:
            for kind in KINDS:
                control.listen(kind.name, self.replays.on_entity)

    async def start(self) -> None:
        """Open the adapter and begin to join; returns at once, `state` tells how far it is."""
        await self.writer.start()
        name = self.settings.name
        stages = {
            "reader": self._join_and_read(),
            "dead letters": self._dead_letters.run(),
            "committer": self.committer.run(),
            "lease": self.writer.guard_lease(),
        }
        if self.replays is not None:
            stages["replays"] = self.replays.run()
        if self.receivers is not None:
            stages["receivers"] = self.receivers.run()
        self._tasks = [asyncio.create_task(stage, name=f"{name} {what}") for what, stage in stages.items()]
        for task in self._tasks:
            task.add_done_callback(self._on_task_done)

    async def stop(self, grace_s: float) -> None:
        """Stop reading, let deliveries finish, commit, leave the group.

        Args:
            grace_s: for deliveries in flight; those cut off at its end are made again after the next start.
        """
        deadline_s = self._clock.monotonic_s() + grace_s
        self.state, self.reason = DeliveryState.DRAINING, "shutting down"
        self.reader.stop()
        self.writer.stop()
        await self.adapter.close(max(0.0, deadline_s - self._clock.monotonic_s()))
        await self._dead_letters.settled(list(self.pending.queues), deadline_s - self._clock.monotonic_s())
        await self.committer.commit_all(
            list(self.pending.queues), max(COMMIT_S_MIN, deadline_s - self._clock.monotonic_s())
        )
        if self.replays is not None:
            await self.replays.stop(max(COMMIT_S_MIN, deadline_s - self._clock.monotonic_s()))
        await self._handover.stop()
        await self.controls.stop()
        await self.blocked.stop()
        await self.endpoint.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._source.close()
        await self._sink.close()
        for assignment in list(self.pending.queues):
            self._forget(assignment)
        self.state, self.reason = DeliveryState.DRAINING, "stopped"

    async def skip(self, topic: str, partition: int, offset: int, reason: str) -> DlqPosition:
        """Send a record to the dead-letter topic now, wherever it stands: see `Skips.skip`."""
        return await self._skips.skip(TopicPartition(topic, partition), offset, reason)

    def on_assigned(self, assignment: Assignment, position: Position) -> None:
        """See `AssignmentListener`."""
        ignored = self.maps.ignored.total()
        tracker = self.maps.restore(assignment, position)
        committed = position.committed.next_offset if position.committed is not None else -1
        queue = PartitionQueue(assignment, tracker, committed, position.log_end)
        self.controls.begin(queue)
        self.pending.open(queue)
        is_other = (
            committed != position.next_offset or self.maps.ignored.total() > ignored
        )  # ignored, it might fit one day
        if is_other or not self.committer.is_proven:
            self.committer.wake()
        log.info(
            "%s: assigned, from offset %d of %d to %d",
            assignment.tp,
            position.next_offset,
            position.log_start,
            position.log_end,
            extra={"code": "partition.assigned", "subscription": self.settings.name, **assignment.tp._asdict()},
        )
        self.reader.on_room()

    def on_leaving(self, assignment: Assignment) -> None:
        """See `AssignmentListener`."""
        queue = self.pending.queues.get(assignment)
        if queue is None:
            self._source.release([assignment])
        else:
            self._handover.begin(queue)

    def on_stays(self, assignment: Assignment) -> None:
        """See `AssignmentListener`."""
        self._handover.cancel(assignment)
        if (queue := self.pending.queues.get(assignment)) is not None:
            self.controls.stays(queue)
            self._on_ready(queue)

    def on_share(self, share: float) -> None:
        """See `AssignmentListener`."""
        self.controls.on_share(share)
        if self.replays is not None:
            self.replays.on_share(share)

    def on_peers(self, peers: Sequence[Peer]) -> None:
        """See `AssignmentListener`."""
        self.peers = tuple(peers)
        self._departures.see([peer.admin for peer in peers], int(self._clock.wall_s() * 1000))
        self.adapter.on_peers(self.peers)
        self._on_members()

    def on_log_end(self, assignment: Assignment, log_end: int, stable_end: int) -> None:
        """See `AssignmentListener`."""
        if (queue := self.pending.queues.get(assignment)) is None:
            return
        waited = queue.waits_for_transaction
        queue.see_log_end(log_end, stable_end)
        if queue.waits_for_transaction and not waited:
            extra = {"code": "kafka.open_transaction", "subscription": self.settings.name}
            log.warning(
                "%s waits at %d: an open transaction of a producer; %d offsets behind it are read once it ends",
                assignment.tp,
                stable_end,
                log_end - stable_end,
                extra=extra,
            )

    def on_unreadable(self, assignment: Assignment, offset: int, reason: str) -> None:
        """See `AssignmentListener`."""
        if (queue := self.pending.queues.get(assignment)) is not None:
            queue.unreadable = f"at offset {offset}: {reason}"
            extra = {"code": "kafka.batch_unreadable", "subscription": self.settings.name}
            log.error("%s@%d cannot be read: %s; the partition waits", assignment.tp, offset, reason, extra=extra)

    def on_lost(self, assignment: Assignment) -> None:
        """See `AssignmentListener`."""
        if assignment in self.pending.queues:
            extra = {"code": "partition.lost", "subscription": self.settings.name, **assignment.tp._asdict()}
            log.warning("%s: lost; deliveries of it that are in flight are aborted", assignment.tp, extra=extra)
        self._handover.cancel(assignment)
        self._forget(assignment)
        self._aborting.add(abort := asyncio.create_task(self.adapter.revoke(assignment, 0.0)))
        abort.add_done_callback(self._aborting.discard)

    def departures(self) -> Mapping[str, int]:
        """Return who left the group lately, and when, in ms since the epoch, the earliest first."""
        return self._departures.since(int(self._clock.wall_s() * 1000))

    def see_dead_letters(self, bounds: Mapping[int, LogBounds], topic_id: str) -> None:
        """Count the dead letters that wait for somebody.

        Args:
            bounds: of the dead-letter topic's partitions, by number, as of now; empty: there is no such topic.
            topic_id: empty where it is not known.
        """
        book = self.replays.book if self.replays is not None else ReplayBook("", "")
        book.see_topic(topic_id)
        self._unresolved = book.unresolved(bounds)

    async def _join_and_read(self) -> None:
        await self._source.start(self)
        if self.state is DeliveryState.STARTING:
            self.state, self.reason = DeliveryState.RUNNING, ""
        await self.reader.run()

    def _forget(self, assignment: Assignment) -> None:
        self.pending.discard(assignment)
        self.reader.forget(assignment)
        self.writer.forget(assignment)
        self._dead_letters.forget(assignment)
        self.committer.forget(assignment)
        if self.replays is not None:
            self.replays.forget(assignment)
        self.writer.wake()

    def _on_ready(self, queue: PartitionQueue) -> None:
        self._order.ready(queue)
        self.writer.wake()

    def set_brake(self, record: BrakeRecord | None) -> None:
        """Do as the control topic says of the brake on dead-lettering."""
        self.endpoint.set_brake(record)
        self.writer.wake()

    def watch_members(self, on_members: Callable[[], None]) -> None:
        """Call a function whenever the members of the group change."""
        self._on_members = on_members

    def _on_blocked_keys_room(self) -> None:
        self._dead_letters.on_room()

    def _on_endpoint(self) -> None:
        self.endpoint.report()

    def _on_full(self, queue: PartitionQueue) -> None:
        self.writer.partition_full(queue)

    def _on_room(self) -> None:
        self.reader.on_room()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """Report a stage that ended without being cancelled: that is a bug or a refusal."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        self.state, self.reason = DeliveryState.FAILED, str(error)
        code = error.code if isinstance(error, MpsError) else "internal"
        extra = {"code": code, "subscription": self.settings.name}
        trace = None if isinstance(error, MpsError) else error
        log.error("%s ended: %s", task.get_name(), error, exc_info=trace, extra=extra)

    def delivery_situation(self) -> Situation:
        """Return what holds for the deliveries of all partitions."""
        endpoint = self.endpoint.statistics()
        if endpoint.state is EndpointState.UP:
            return self.receivers.situation() if self.receivers is not None else ALL_WELL
        is_out = endpoint.state is EndpointState.OUT
        state = DeliveryState.ENDPOINT_OUT if is_out else DeliveryState.ALL_REJECTED
        return Situation(state, f"{state.reason}; last: {endpoint.reason}" if endpoint.reason else state.reason)

    @property
    def dead_letters(self) -> Mapping[str, int]:
        """Dead letters that the topic has acknowledged since the start, by disposition."""
        return self._dead_letters.written

    def statistics(self) -> SubscriptionStatistics:
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        waiting = self._source.waiting_for() or self.controls.waiting_for()
        state, reason = self.state, self.reason
        if waiting and state in {DeliveryState.STARTING, DeliveryState.RUNNING}:
            state, reason = DeliveryState.WAITING, waiting
        reason = reason or self.controls.problem()
        delivery = self.delivery_situation()
        source, adapter = self._source.statistics(), self.adapter.statistics()
        return SubscriptionStatistics(
            name=self.settings.name,
            state=state,
            reason=reason,
            delivery=delivery,
            receiver_gap_s=self.receivers.gap_s if self.receivers is not None else None,
            partitions=[
                partition_statistics(queue, self.pending, now_s, wall_s, delivery)
                for queue in self.pending.queues.values()
            ],
            pauses=self.controls.pauses,
            limit=self.controls.limit,
            blocked_keys=len(self.blocked.book),
            last_failure=self.writer.last_failure,
            unresolved_dead_letters=self._unresolved,
            replays=self.replays.book.counts() if self.replays is not None else {},
            replayed=self.replays.finished if self.replays is not None else {},
            in_flight=self.writer.in_flight,
            backing_off=self.writer.waiting.backing_off,
            suspects=self.writer.suspects,
            deliveries=self.writer.outcomes,
            retries=self.writer.retries,
            withdrawn=self.writer.withdrawn,
            stale_outcomes=self.writer.stale,
            dead_letters=self._dead_letters.written,
            dead_letter_failures=self._dead_letters.failures,
            endpoint=self.endpoint.statistics(),
            commits=self.committer.commits,
            commit_failures=self.committer.failures,
            lost_offsets=source.lost_offsets,
            offset_maps_ignored=self.maps.ignored,
            attempts_left_out=self.maps.attempts_left_out,
            endpoint_latency=self.writer.endpoint_latency,
            end_to_end_latency=self.writer.end_to_end_latency,
            key_fallbacks=adapter.key_fallbacks,
            stages={
                "source": source.numbers,
                "reader": self.reader.statistics(),
                "pending_queue": self.pending.statistics(),
                "order_iterator": self._order.statistics(),
                "writer": self.writer.statistics(),
                "adapter": adapter.numbers,
                "retry_policy": self.policy.statistics(),
                "committer": self.committer.statistics(),
                "dead_letter_writer": self._dead_letters.statistics(),
            },
        )
