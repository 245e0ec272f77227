"""Positions: where newly assigned partitions begin, what a group has committed, and where logs end."""

import copy
import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from aiokafka import TopicPartition as ClientPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.errors import NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

from mpsd.core.incarnation import Incarnation
from mpsd.core.offset_map import is_of_former_topic
from mpsd.core.record import TopicPartition
from mpsd.ports import CommitPoint, Position

log = logging.getLogger("mpsd.group")


class Positions:
    """A look-up of positions, for many partitions in few requests.

    Args:
        start: where a group without commits begins. A partition that the group has not seen before begins at its first
            record whatever it says, because nobody could have skipped it on purpose: one that appears while this member runs,
            and one without a commit of a topic of which the group has committed others.
        out_of_range: where to go on if what was committed is gone from the log.

    Attributes:
        begun: topics of which the group had committed any partition before this member joined.
        lost: offsets passed over since the beginning, because the log no longer had them.
    """

    def __init__(self, subscription: str, start: str | datetime, out_of_range: str) -> None:
        self._subscription = subscription
        self._start = start
        self._out_of_range = out_of_range
        self._known: dict[str, int] = {}
        self.begun: Collection[str] = ()
        self.lost = 0

    def see_topics(self, partitions: Mapping[str, int]) -> list[str]:
        """Learn the number of partitions of each topic, 0 for a missing one; return the topics that are gone.

        What comes back under the name of one that is gone is another topic: all its partitions appear.
        """
        for topic, count in partitions.items():
            if count:
                self._known.setdefault(topic, count)
            elif topic in self._known:
                self._known[topic] = 0
        return [topic for topic, count in partitions.items() if topic in self._known and not count]

    def learn_topics(self, consumer: Any, topics: Collection[str]) -> None:
        """Learn the topics of an assignment, so that one deleted before the next look counts as gone, not as not created yet."""
        found = {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in topics}
        self.see_topics({topic: count for topic, count in found.items() if count})

    async def look_up(
        self, consumer: Any, incarnations: Mapping[TopicPartition, Incarnation]
    ) -> dict[TopicPartition, Position | None]:
        """Return offset and metadata of all partitions from one answer of the broker.

        Args:
            incarnations: the partitions, each with the topic that it is of now.

        Returns:
            The positions; None where `out_of_range` says to stop.

        Raises:
            KafkaError: as the library does.
        """
        keys = [ClientPartition(*tp) for tp in incarnations]
        committed = await consumer._coordinator.fetch_committed_offsets(keys)
        starts = await consumer.beginning_offsets(keys)
        ends = await consumer.end_offsets(keys)
        begin = await self._begin(consumer, [key for key in keys if key not in committed], starts, ends)
        positions: dict[TopicPartition, Position | None] = {}
        for key in keys:
            point = committed.get(key)
            found = None if point is None else CommitPoint(point.offset, point.metadata or "")
            tp = TopicPartition(*key)
            if found is None:
                next_offset: int | None = begin[key]
            elif is_of_former_topic(found.metadata, tp, found.next_offset, incarnations[tp]):
                next_offset = self._pass_over(tp, found, starts[key])
            else:
                next_offset = self._in_range(key, found.next_offset, starts[key], ends[key])
            positions[tp] = None if next_offset is None else Position(found, next_offset, starts[key], ends[key])
        return positions

    async def gone(self, consumer: Any, tp: TopicPartition, position: int) -> int | None:
        """Return where to go on if the log no longer has the position that was to be read; None to stop."""
        key = ClientPartition(*tp)
        starts, ends = await consumer.beginning_offsets([key]), await consumer.end_offsets([key])
        return self._in_range(key, position, starts[key], ends[key])

    async def _begin(
        self, consumer: Any, keys: Collection[Any], starts: Mapping[Any, int], ends: Mapping[Any, int]
    ) -> dict[Any, int]:
        appeared = {key: starts[key] for key in keys if key.topic in self.begun or self._has_appeared(key)}
        rest = [key for key in keys if key not in appeared]
        match self._start:
            case datetime() as at:
                asked = {key: int(at.timestamp() * 1000) for key in rest}
                found = await consumer.offsets_for_times(asked) if asked else {}
                begin = {key: ends[key] if found.get(key) is None else found[key].offset for key in rest}
            case "latest":
                begin = {key: ends[key] for key in rest}
            case _:
                begin = {key: starts[key] for key in rest}
        return begin | appeared

    def _has_appeared(self, key: Any) -> bool:
        return bool(key.partition >= self._known.get(key.topic, key.partition + 1))

    def _pass_over(self, tp: TopicPartition, committed: CommitPoint, log_start: int) -> int:
        """Return where the new topic begins: the commit is of a topic of the same name that was deleted."""
        extra = {"code": "kafka.topic_recreated", "subscription": self._subscription}
        words = "%s: topic was recreated after the commit of offset %d; reading it from its first record, %d"
        log.error(words, tp, committed.next_offset, log_start, extra=extra)
        return log_start

    def _in_range(self, tp: Any, offset: int, log_start: int, log_end: int) -> int | None:
        if log_start <= offset <= log_end:
            return offset
        next_offset = {"stop": None, "latest": log_end}.get(self._out_of_range, log_start)
        lost = max(0, (log_start if next_offset is None else next_offset) - offset)
        self.lost += 0 if next_offset is None else lost
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
        return next_offset


def watch_offset_fetches(coordinator: Any) -> None:
    """Raise the error of a whole answer; to the library a group whose coordinator is loading has committed nothing.

    With `start = "latest"` such a group would skip all that it has not read yet.
    """
    send = coordinator._send_req

    async def send_and_raise(request: Any) -> Any:
        response = await send(request)
        if isinstance(request, OffsetFetchRequest) and (code := getattr(response, "error_code", 0)):
            if for_code(code) is NotCoordinatorForGroupError:
                coordinator.coordinator_dead()
            raise for_code(code)(coordinator.group_id)
        return response

    coordinator._send_req = send_and_raise


async def topics_with_commits(consumer: Any, topics: Collection[str]) -> frozenset[str]:
    """Return those of the topics of which the group has committed any partition.

    Args:
        consumer: connected; it need not have joined.

    Raises:
        KafkaError: as the library does.
    """
    await consumer._coordinator.ensure_coordinator_known()
    answer = await consumer._coordinator._send_req(OffsetFetchRequest(consumer._coordinator.group_id, None))
    found = {topic for topic, partitions in answer.topics for _, offset, *_ in partitions if offset >= 0}
    return frozenset(found.intersection(topics))


class LogEnd(NamedTuple):
    """The end of a partition.

    Attributes:
        log_end: the high watermark.
        stable_end: the last stable offset; below the log end there is an open transaction, and nothing beyond can be read.
    """

    log_end: int
    stable_end: int


async def log_ends(consumer: Any, keys: Collection[Any]) -> dict[Any, LogEnd]:
    """Look up both ends; to a consumer of committed records alone the library shows only the stable one.

    Raises:
        KafkaError: as the library does.
    """
    if not keys:
        return {}
    ends: dict[Any, int] = {}
    if getattr(consumer._fetcher, "_isolation_level", READ_UNCOMMITTED) != READ_UNCOMMITTED:
        of_all = copy.copy(consumer._fetcher)  # asks over the same client; nothing else is done with it
        of_all._isolation_level = READ_UNCOMMITTED
        ends = await of_all.end_offsets(keys, consumer._request_timeout_ms)
    stable = await consumer.end_offsets(keys)  # after the other: what is written in between waits for no transaction
    return {key: LogEnd(max(ends.get(key, -1), end), end) for key, end in stable.items()}
