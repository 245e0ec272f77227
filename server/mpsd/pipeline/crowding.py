"""Find the lanes that fill their partition behind a record that keeps failing."""

from mpsd.core.delivery import Delivery
from mpsd.core.lanes import chain
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue

FULL_SHARE = 2
"""A partition is crowded once this part of its room is taken: a half."""
LANE_SHARE = 4
"""A lane crowds it if what waits behind its head takes this part of the room: a quarter."""


def is_crowding(pending: PendingQueue, queue: PartitionQueue, head: Delivery) -> bool:
    """Return True if the records behind the head of a lane leave the other lanes of its partition too little room.

    Costs a look at up to a quarter of the partition's records, and only where the partition is crowded.
    """
    records_max, bytes_max = pending.records_max, pending.bytes_max
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
