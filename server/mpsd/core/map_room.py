"""Room for records to read, so that every offset map that can result still fits."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from mpsd.core.offset_tracker import OffsetTracker, next_offset_after
from mpsd.core.record import Record
from mpsd.core.run_codes import worst_bits


def has_map_room(tracker: OffsetTracker, bits_max: int) -> bool:
    """Return True if the next record would fit, whatever records finish first.

    Args:
        bits_max: bound of `worst_bits` of the partition's offset map.
    """
    end = tracker.end
    return end < tracker.restored_end or worst_bits(tracker.spread(end, next_offset_after(end), 1)) <= bits_max


def mappable(tracker: OffsetTracker, records: Sequence[Record], bits_max: int) -> int:
    """Return how many of the records, from the front, may be read so that every resulting offset map fits.

    Args:
        records: in offset order, 1 or more.
    """
    first = records[0].offset

    def bits(count: int) -> int:
        return worst_bits(tracker.spread(first, next_offset_after(records[count - 1].offset), count))

    if bits(len(records)) <= bits_max:
        return len(records)
    known = bisect_left(records, tracker.restored_end, key=lambda record: record.offset)  # they spread no further
    return max(known, bisect_right(range(1, len(records)), bits_max, key=bits))
