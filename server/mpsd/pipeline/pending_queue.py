"""Records read and not yet settled, in lanes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

from typing_extensions import override

from mpsd.config import Ordering
from mpsd.core.blocked_keys import BlockedKey
from mpsd.core.delivery import Assignment, Delivery, FailureHistory, Lane, ReplayedDelivery, Seat
from mpsd.core.lanes import Lanes, chain, predecessor
from mpsd.core.map_room import has_map_room, mappable
from mpsd.core.offset_map import NO_BOUND
from mpsd.core.offset_tracker import OffsetTracker
from mpsd.core.record import Record, record_bytes
from mpsd.core.states import DeliveryState

GONE: Literal["gone"] = "gone"
Cause = DeliveryState | Literal["gone"]
"""A cause for which nothing of a partition may be delivered: a state that it is in, or that it is not ours any more."""
REFILL_SHARE = 4
"""A full partition is read again once a quarter of its records has gone, so that reading goes in batches."""
MAP_REFILL = 15
"""Sixteenths of the offset map's bound below which a partition whose map was full is read again at once."""

FULL_SHARE = 2
"""A partition is crowded once this part of its room is taken: a half."""
LANE_SHARE = 4
"""A lane crowds its partition if the records behind its head take this part of the room: a quarter."""


NULL_KEY_LANE = "null key"
PARTITION_LANE = "partition"


def lane_of(ordering: Ordering, key: bytes | None) -> Lane:
    """Return the lane of a record, within its partition; records of one lane must not overtake each other."""
    match ordering.by:
        case "none":
            return None
        case "partition":
            return PARTITION_LANE
        case "key":
            return key if key is not None else NULL_KEY_LANE if ordering.null_key == "partition" else None


class PendingBudget:
    """The bytes of the whole daemon, in equal shares for all assigned partitions of all subscriptions."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._partitions = 0
        self.share_bytes = bytes_max

    def count(self, change: int) -> None:
        """Count partitions that came, or went if negative."""
        self._partitions += change
        self.share_bytes = self._bytes_max // max(1, self._partitions)


class PartitionQueue:
    """An assigned partition: its lanes, its offsets, and why it is stopped, if it is.

    Attributes:
        stopped_by: why nothing of it may be delivered now, the first of the causes; empty if it may: see `stop`.
        is_leaving: it must move: nothing more of it is read.
        in_turn: whether the OrderIterator has it on its list.
        in_flight: deliveries with the adapter.
        map_full: it is not read further, as its offset map might not fit any more.
        wants_refill: it was full; whoever frees room tells the Reader.
        charges: attempts charged, ever: with the tracker's state it says whether a commit would say anything new.
        paused_keys: keys of which nothing is delivered.
        blocked: keys of which only a replay delivers records; read here, and changed by BlockedKeys.
        postponed: records of blocked keys that are about to be released: see `PendingQueue.postpone_key`.
        crowded: dead records that wait for room to block their keys.
        replay, replay_end: records below this offset are brought back by this reset.
        replayed: records in its lanes that a replay brought back, not settled.
        dead_letter_pending: records on their way to the dead-letter topic.
        unwritable: those of them that could not be written so far.
    """

    __slots__ = (
        "_causes",
        "assignment",
        "blocked",
        "bytes",
        "charges",
        "committed",
        "crowded",
        "dead_letter_pending",
        "high_watermark",
        "in_flight",
        "in_turn",
        "is_leaving",
        "lanes",
        "map_full",
        "paused_keys",
        "postponed",
        "replay",
        "replay_end",
        "replayed",
        "stable_end",
        "stopped_by",
        "tracker",
        "unreadable",
        "unwritable",
        "waits_for_transaction",
        "wants_refill",
    )

    def __init__(self, assignment: Assignment, tracker: OffsetTracker, committed: int, high_watermark: int) -> None:
        self.assignment = assignment
        self.tracker = tracker
        self.lanes = Lanes()
        self.bytes = 0
        self.in_flight = 0
        self.dead_letter_pending = 0
        self.unwritable = 0
        self.charges = 0
        self.paused_keys: frozenset[bytes] = frozenset()
        self.replayed: set[Delivery] = set()
        self.blocked: dict[bytes, BlockedKey] = {}
        self.postponed: dict[bytes, list[Delivery]] = {}
        self.crowded = 0
        self.replay, self.replay_end = "", -1
        self._causes: dict[Cause, str] = {}
        self.stopped_by: str = ""
        self.in_turn = False
        self.is_leaving = False
        self.unreadable = ""
        self.map_full = False
        self.wants_refill = False
        self.committed = committed
        self.high_watermark = high_watermark
        self.stable_end = -1
        self.waits_for_transaction = False

    @property
    def readable_end(self) -> int:
        """Return the offset where readable records end, as last heard."""
        return self.stable_end if self.waits_for_transaction else self.high_watermark

    def see_log_end(self, log_end: int, stable_end: int) -> None:
        """Note the end of the log, and of what can be read of it; one that stays from look to look waits for a transaction."""
        self.high_watermark = max(self.high_watermark, log_end)
        is_held_up = 0 <= stable_end < log_end and stable_end == self.stable_end
        self.waits_for_transaction = is_held_up and self.tracker.end >= stable_end
        self.stable_end = stable_end

    @property
    def causes(self) -> Mapping[Cause, str]:
        """Return all causes that were given to `stop` and not taken back, each with its reason."""
        return self._causes

    def stop(self, cause: Cause, reason: str = "") -> None:
        """Deliver nothing of it until each cause that was given is taken back.

        Args:
            reason: what operators are told beyond the cause; empty: nothing.
        """
        self._causes[cause] = reason
        self.stopped_by = next(iter(self._causes))

    def go_on(self, cause: Cause) -> bool:
        """Take back a cause, given or not; return True if no other stops the partition: see `PendingQueue.resume_partition`."""
        self._causes.pop(cause, None)
        self.stopped_by = next(iter(self._causes), "")
        return not self.stopped_by

    @override
    def __repr__(self) -> str:
        return (
            f"<PartitionQueue {self.assignment} pending={len(self.tracker.unfinished)} stopped_by={self.stopped_by!r}>"
        )


class PendingQueue:
    """Records read and not yet settled, in lanes.

    Takes: fetched records, one partition at a time.
    Gives: the lanes that may deliver now, by way of `on_ready`.
    Holds at most: `records_max` and `bytes_max` of each assigned partition, and its share of the budget; a record larger
        than a bound passes alone. And no more than an offset map has room for, whatever of it is finished first: the
        further the finished ones spread, the fewer are blocked.

    Attributes:
        records_max: of each partition.
        map_bits_max: bound of `worst_bits` of each partition's offset map; may be set at any time.
    """

    def __init__(
        self,
        ordering: Ordering,
        records_max: int,
        bytes_max: int,
        budget: PendingBudget,
        on_ready: Callable[[PartitionQueue], None],
        on_room: Callable[[], None],
        on_full: Callable[[PartitionQueue], None] = lambda _: None,
    ) -> None:
        """Begin without partitions, and with no bound on offset maps.

        Args:
            on_ready: a partition has a lane that may deliver.
            on_room: a partition that was full may be read again.
            on_full: a partition has become full.
        """
        self._is_by_key = ordering.by == "key"
        self.lane_of = partial(lane_of, ordering)
        self.records_max = records_max
        self._bytes_max = bytes_max
        self._budget = budget
        self._on_ready = on_ready
        self._on_room = on_room
        self._on_full = on_full
        self.map_bits_max = NO_BOUND
        self._refill_records = records_max - max(1, records_max // REFILL_SHARE)
        self.queues: dict[Assignment, PartitionQueue] = {}

    def open(self, queue: PartitionQueue) -> None:
        """Open a partition that is ours."""
        self.queues[queue.assignment] = queue
        self._budget.count(1)

    def discard(self, assignment: Assignment) -> PartitionQueue | None:
        """Forget a partition that is no longer ours, and its records; return None if it was not here."""
        queue = self.queues.pop(assignment, None)
        if queue is not None:
            queue.stop(GONE)
            self._budget.count(-1)
        return queue

    def has_room(self, queue: PartitionQueue) -> bool:
        """Return True if the partition may be read."""
        pending = len(queue.tracker.unfinished)
        if not pending or (pending < self.records_max and queue.bytes < self.bytes_max):
            queue.map_full = not has_map_room(queue.tracker, self.map_bits_max)
            if not queue.map_full:
                return True
        self._full(queue)
        return False

    def _full(self, queue: PartitionQueue) -> None:
        if not queue.wants_refill:
            queue.wants_refill = True
            self._on_full(queue)

    @property
    def bytes_max(self) -> int:
        """Return the bound of one partition as of now."""
        return min(self._bytes_max, self._budget.share_bytes)

    def add(self, queue: PartitionQueue, records: Sequence[Record], now_s: float) -> int:
        """Append records in offset order until the partition is full.

        Returns:
            How many were taken; offer the rest again when there is room.
        """
        tracker, lanes, unfinished = queue.tracker, queue.lanes, queue.tracker.unfinished
        if records:
            fitting = mappable(tracker, records, self.map_bits_max)
            queue.map_full = fitting < len(records)
            queue.wants_refill |= queue.map_full
            records = records[:fitting]
        assignment, records_max, bytes_max, postponed = (
            queue.assignment,
            self.records_max,
            self.bytes_max,
            queue.postponed,
        )
        by_key, lane_of_key = self._is_by_key, self.lane_of
        taken, pending_bytes, replay_end = 0, queue.bytes, queue.replay_end
        for record in records:
            offset = record.offset
            if tracker.restored and tracker.was_finished(offset):
                tracker.read_to(offset + 1)
                taken += 1
                continue
            size = record_bytes(record)
            if unfinished and (len(unfinished) >= records_max or pending_bytes + size > bytes_max):
                break
            key = record.key
            lane = key if by_key and key is not None else lane_of_key(key)
            delivery = Delivery(record, assignment, lane, size, now_s)
            if tracker.restored_attempts and (attempts := tracker.restored_attempts.pop(offset, 0)):
                delivery.failures = FailureHistory(attempts=attempts)
            if offset < replay_end:
                delivery.replay = queue.replay
            tracker.read(offset, delivery)
            if postponed and key in postponed:
                postponed[key].append(delivery)
            else:
                lanes.add(delivery)
            pending_bytes += size
            taken += 1
        queue.bytes = pending_bytes
        if taken < len(records):
            self._full(queue)
        if lanes.ready and not queue.in_turn:
            self._on_ready(queue)
        return taken

    def inject(self, queue: PartitionQueue, delivery: ReplayedDelivery) -> None:
        """Append a record that a replay brings back; see to its bound before, as it takes its bytes like any other."""
        queue.bytes += delivery.size_bytes
        queue.replayed.add(delivery)
        queue.lanes.add(delivery)
        if queue.lanes.ready and not queue.in_turn:
            self._on_ready(queue)

    def postpone_key(self, queue: PartitionQueue, key: bytes) -> None:
        """Keep the records that are read of a key beside its lane until `resume_key`, so that the lane comes to an end."""
        queue.postponed.setdefault(key, [])

    def resume_key(self, queue: PartitionQueue, key: bytes) -> None:
        """Put the postponed records of a key into its lane, and those that are read from now on."""
        for delivery in queue.postponed.pop(key, ()):
            queue.lanes.add(delivery)
        if queue.lanes.ready and not queue.in_turn:
            self._on_ready(queue)

    def finish(self, queue: PartitionQueue, delivery: Delivery) -> None:
        """Finish a record that is accepted or durably dead-lettered: its offset is done and its lane goes on."""
        lanes = queue.lanes
        if delivery.replay is not None and isinstance(delivery, ReplayedDelivery):
            queue.replayed.discard(delivery)
            delivery.on_finished(delivery)
        else:
            queue.tracker.finished(delivery.record.offset)
        queue.bytes -= delivery.size_bytes
        lanes.settled(delivery)
        if lanes.ready and not queue.in_turn:
            self._on_ready(queue)
        if queue.wants_refill and self._is_refillable(queue):
            queue.wants_refill = False
            self._on_room()

    def put_back(self, queue: PartitionQueue, delivery: Delivery) -> None:
        """Let the head of a lane be delivered again now."""
        queue.lanes.put_back(delivery)
        if not queue.in_turn:
            self._on_ready(queue)

    def resume_partition(self, queue: PartitionQueue, cause: Cause) -> None:
        """Take back a cause, given or not; if no other stops the partition, its lanes may deliver again."""
        if queue.go_on(cause):
            self._on_ready(queue)

    def resume_heads(self, queue: PartitionQueue, paused_keys: frozenset[bytes]) -> None:
        """Let the paused heads of all keys but these be delivered again."""
        if queue.lanes.paused:
            queue.lanes.resume(paused_keys)
            if queue.lanes.ready and not queue.in_turn:
                self._on_ready(queue)

    def withdraw(self, queue: PartitionQueue, delivery: Delivery) -> None:
        """Take a delivery that nobody has in hand out of its lane, so that it can be skipped."""
        beside = queue.postponed.get(delivery.record.key) if delivery.record.key is not None else None
        if beside is not None and delivery in beside:
            beside.remove(delivery)
            delivery.lane = None  # it never was in its lane, which others may be in
            return
        before = None
        if delivery.seat is Seat.WAITING:
            before = predecessor(delivery, (*queue.tracker.unfinished.values(), *queue.replayed))
        queue.lanes.withdraw(delivery, before)

    def _is_refillable(self, queue: PartitionQueue) -> bool:
        pending = len(queue.tracker.unfinished)
        if pending and (pending > self._refill_records or queue.bytes > self.bytes_max * 3 // 4):
            return False
        return not queue.map_full or has_map_room(queue.tracker, self.map_bits_max * MAP_REFILL // 16)

    def is_crowding(self, queue: PartitionQueue, head: Delivery) -> bool:
        """Return True if the records behind the head of a lane leave the other lanes of its partition too little room.

        Costs a look at up to a quarter of the partition's records, and only where the partition is crowded.
        """
        records_max, bytes_max = self.records_max, self.bytes_max
        if len(queue.tracker.unfinished) * FULL_SHARE < records_max and queue.bytes * FULL_SHARE < bytes_max:
            return False
        if head.next is None:
            return False
        records_left, bytes_left = max(1, records_max // LANE_SHARE), max(1, bytes_max // LANE_SHARE)
        for behind in chain(head.next):
            records_left -= 1
            bytes_left -= behind.size_bytes
            if records_left <= 0 or bytes_left <= 0:
                return True
        return False

    def statistics(self) -> dict[str, float]:
        queues: Iterable[PartitionQueue] = self.queues.values()
        return {
            "partitions": len(self.queues),
            "records": sum(len(queue.tracker.unfinished) for queue in queues),
            "bytes": sum(queue.bytes for queue in queues),
            "lanes": sum(len(queue.lanes) for queue in queues),
            "bytes_max_per_partition": self.bytes_max,
        }
