"""The client library's consumer, made for a membership and connected once all its topics are there."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.conn import CloseReason
from aiokafka.errors import GroupCoordinatorNotAvailableError, IncompatibleBrokerVersion, InconsistentGroupProtocolError

from mpsd.errors import KafkaUnavailable, MpsError
from mpsd.kafka.assignor import CooperativeAssignor
from mpsd.kafka.connection import Options, admin_client, asking_within, existing_topics, start
from mpsd.kafka.protocol import NewProtocolGroup
from mpsd.ports import NOWHERE, Peer

log = logging.getLogger("mpsd.group")


LOOK_INTERVAL_S = 0.5
WAITED_FOR = {11, 14}
"""JoinGroup and SyncGroup, which the broker answers when other members have come."""


class SilenceBound:
    """A watch over the connections of one client, until the client is closed.

    An answer that arrives slowly is not silence: what counts is whether any of its bytes came.
    """

    def __init__(self, client: Any, silence_max_s: float, join_max_s: float) -> None:
        """Begin to watch; called in the loop's thread, before the client connects.

        Args:
            client: the library's.
            join_max_s: how long the answer to a JoinGroup may take.
        """
        self._client = client
        self._silence_max_s = silence_max_s
        self._join_max_s = join_max_s
        self._heard: dict[Any, tuple[tuple[int | None, int], float]] = {}
        self._loop = asyncio.get_running_loop()
        client._request_timeout_ms = int(silence_max_s * 1000)  # of connecting
        self._connect, client._get_conn = client._get_conn, self._get_conn
        self._close, client.close = client.close, self._end
        self._next = self._loop.call_later(LOOK_INTERVAL_S, self._look_on)

    async def _get_conn(self, *args: Any, **options: Any) -> Any:
        connection = await self._connect(*args, **options)
        if connection is not None:
            connection._request_timeout = self._join_max_s
        return connection

    async def _end(self) -> None:
        self._next.cancel()
        await self._close()

    def _look_on(self) -> None:
        self.look(self._loop.time())
        self._next = self._loop.call_later(LOOK_INTERVAL_S, self._look_on)

    def look(self, now_s: float) -> None:
        """Close the connections whose broker has been silent for too long."""
        heard, self._heard = self._heard, {}
        for connection in list(self._client._conns.values()):
            if not connection._requests or connection._reader is None:
                continue
            correlation_id, request, _ = connection._requests[0]
            sign = correlation_id, len(connection._reader._buffer)
            last_sign, since_s = heard.get(connection, (sign, now_s))
            since_s = since_s if last_sign == sign else now_s
            if now_s - since_s < self._silence_max_s or (request is not None and request.API_KEY in WAITED_FOR):
                self._heard[connection] = sign, since_s
                continue
            log.warning(
                "broker %s:%d is silent: no byte of an expected answer for %.1f s; reconnecting",
                connection.host,
                connection.port,
                now_s - since_s,
                extra={"code": "kafka.silent"},
            )
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)


CONNECT_TIMEOUT_S = 15.0
CONNECT_REST_MAX_S = 15.0
STOP_TIMEOUT_S = 5.0
WITHOUT_MEMBERS = {"Empty", "Dead"}
"""States of a group of the consumer protocol that becomes one of ours when we join."""
REQUEST_MARGIN_MS = 5_000
"""A JoinGroup is answered within the rebalance time-out; what takes this much longer has no answer."""
PARTITION_FETCH_BYTES_MAX = 1_048_576
PARTITION_FETCH_BYTES_MIN = 65_536
"""A record that is larger is fetched all the same, alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """Settings of a membership; the configuration has ranges, defaults and reasons.

    Attributes:
        silence_max_ms: how long a broker may owe an answer and bring nothing of it.
        metadata_age_max_ms: new partitions, and leaders that changed unnoticed, are found within this time.
        peer: what other members are told of where this one can be reached.
    """

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
    metadata_age_max_ms: int = 30_000
    silence_max_ms: int = 3_000
    peer: Peer = NOWHERE


Connect = Callable[[GroupSettings, Mapping[str, Any], CooperativeAssignor, Callable[[str], None]], Awaitable[Any]]
"""A function that makes a consumer that is connected and outside the group: `connected`, or a test's own."""


async def connected(
    settings: GroupSettings, options: Options, assignor: CooperativeAssignor, waits: Callable[[str], None]
) -> Any:
    """Return a connected consumer outside the group, because it knows no topics yet.

    Tries again, with growing rests, while the broker is out of reach, refuses, or lacks a topic. Cancelled, it leaves
    nothing open.

    Args:
        waits: told what it waits for.
    """
    rest_s = 0.5
    while True:
        consumer = AIOKafkaConsumer(
            **options,
            group_id=settings.group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level=settings.isolation_level,
            session_timeout_ms=settings.session_timeout_ms,
            rebalance_timeout_ms=settings.rebalance_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            fetch_max_bytes=settings.fetch_bytes_max,
            max_partition_fetch_bytes=min(PARTITION_FETCH_BYTES_MAX, settings.fetch_bytes_max),
            metadata_max_age_ms=settings.metadata_age_max_ms,
            request_timeout_ms=settings.rebalance_timeout_ms + REQUEST_MARGIN_MS,
            partition_assignment_strategy=(assignor,),
        )
        join_max_s = (settings.rebalance_timeout_ms + REQUEST_MARGIN_MS) / 1000
        SilenceBound(consumer._client, settings.silence_max_ms / 1000, join_max_s)
        try:
            async with asking_within(f"read the topics of subscription {settings.subscription}", CONNECT_TIMEOUT_S):
                await _find_topics(settings, options)
                await start(consumer, options)
        except MpsError as error:
            await stop(consumer)
            waits(str(error))
            extra = {"code": error.code, "subscription": settings.subscription}
            log.warning("%s: waiting: %s", settings.subscription, error, extra=extra)
            await asyncio.sleep(rest_s)
            rest_s = min(CONNECT_REST_MAX_S, rest_s * 2)
        except BaseException:
            await stop(consumer)
            raise
        else:
            return consumer


async def _find_topics(settings: GroupSettings, options: Options) -> None:
    """Look for the topics and for strangers in the group before the consumer subscribes, which might create a topic.

    Raises:
        KafkaUnavailable: a topic is missing.
        InconsistentGroupProtocolError: the group has members of the consumer protocol (KIP-848).
    """
    async with admin_client(options, CONNECT_TIMEOUT_S) as admin:
        existing = await existing_topics(admin, settings.topics)
        if existing.issuperset(settings.topics):
            await refuse_strangers(admin, settings.group)
    missing = [topic for topic in settings.topics if topic not in existing]
    if missing:
        raise KafkaUnavailable(f"topic {', '.join(missing)} does not exist; reading starts once somebody creates it")


async def refuse_strangers(admin: Any, group: str) -> None:
    """Raise InconsistentGroupProtocolError where the group has members of the consumer protocol, which assigns otherwise.

    To join would take partitions from them, even if only until the assignment shows it.
    """
    try:
        answer = await admin._send_request(NewProtocolGroup(group), await admin.find_coordinator(group))
    except (IncompatibleBrokerVersion, NotImplementedError, GroupCoordinatorNotAvailableError):
        return  # a broker that does not know the protocol, or a cluster's first group
    (described,) = answer.to_object()["groups"]
    if not described["error_code"] and described["state"] not in WITHOUT_MEMBERS:
        raise InconsistentGroupProtocolError


def mended(consumer: Any) -> bool:
    """Repair a consumer after an error; return False if a new one is needed because a task of the library has ended."""
    coordinator = consumer._coordinator
    if coordinator._coordination_task.done():
        return False
    if coordinator._heartbeat_task is not None and coordinator._heartbeat_task.done():
        coordinator.request_rejoin()
    return True


def bound_prefetch(consumer: Any, partitions: int, fetch_bytes_max: int) -> None:
    """Let the partitions share one fetch: the library holds an answer for each that nobody asks for, whatever their number."""
    share = max(PARTITION_FETCH_BYTES_MIN, fetch_bytes_max // max(1, partitions))
    consumer._fetcher._max_partition_fetch_bytes = min(PARTITION_FETCH_BYTES_MAX, share)


async def stop(consumer: Any, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Leave the group and disconnect; a broker that does not answer is not waited for."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            ended = await asyncio.gather(consumer.stop(), return_exceptions=True)
            if isinstance(ended[0], asyncio.CancelledError):
                await consumer._client.close()  # a fetch rested after an error: the library has closed nothing then
