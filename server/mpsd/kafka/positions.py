"""Where newly assigned partitions begin: what the group committed, or what `start` and `out_of_range` say."""

import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from aiokafka import TopicPartition as ClientPartition

from mpsd.core.record import TopicPartition
from mpsd.ports import CommitPoint, Position

log = logging.getLogger("mpsd.group")


class Positions:
    """Looks positions up, for many partitions in few requests.

    Args:
        start: where a group without commits begins.
        out_of_range: where to go on if what was committed is gone from the log.
    """

    def __init__(self, consumer: Any, subscription: str, start: str | datetime, out_of_range: str) -> None:
        self._consumer = consumer
        self._subscription = subscription
        self._start = start
        self._out_of_range = out_of_range

    async def look_up(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, Position | None]:
        """Offset and metadata of all from one answer of the broker; None where `out_of_range` says to stop.

        Raises:
            KafkaError: as the library does.
        """
        keys = [ClientPartition(*tp) for tp in tps]
        committed = await self._consumer._coordinator.fetch_committed_offsets(keys)
        starts = await self._consumer.beginning_offsets(keys)
        ends = await self._consumer.end_offsets(keys)
        begin = await self._begin([key for key in keys if key not in committed], starts, ends)
        positions: dict[TopicPartition, Position | None] = {}
        for key in keys:
            point = committed.get(key)
            found = None if point is None else CommitPoint(point.offset, point.metadata or "")
            next_offset = (
                begin[key] if found is None else self._in_range(key, found.next_offset, starts[key], ends[key])
            )
            positions[TopicPartition(*key)] = (
                None if next_offset is None else Position(found, next_offset, starts[key], ends[key])
            )
        return positions

    async def gone(self, tp: TopicPartition, position: int) -> int | None:
        """Where to go on when the log no longer has the position that was to be read; None: nowhere."""
        key = ClientPartition(*tp)
        starts, ends = await self._consumer.beginning_offsets([key]), await self._consumer.end_offsets([key])
        return self._in_range(key, position, starts[key], ends[key])

    async def _begin(self, keys: Collection[Any], starts: Mapping[Any, int], ends: Mapping[Any, int]) -> dict[Any, int]:
        match self._start:
            case datetime() as at:
                found = await self._consumer.offsets_for_times({key: int(at.timestamp() * 1000) for key in keys})
                return {key: ends[key] if found.get(key) is None else found[key].offset for key in keys}
            case "latest":
                return {key: ends[key] for key in keys}
            case _:
                return {key: starts[key] for key in keys}

    def _in_range(self, tp: Any, offset: int, log_start: int, log_end: int) -> int | None:
        if log_start <= offset <= log_end:
            return offset
        lost = log_start - offset if offset < log_start else 0
        log.error(
            "%s/%d: offset %d is not in the log, which has %d to %d: %d offsets are lost; going on as out_of_range = %s says",
            tp.topic,
            tp.partition,
            offset,
            log_start,
            log_end,
            lost,
            self._out_of_range,
            extra={"code": "kafka.out_of_range", "subscription": self._subscription},
        )
        match self._out_of_range:
            case "stop":
                return None
            case "latest":
                return log_end
            case _:
                return log_start
