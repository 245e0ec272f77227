"""Ends of logs: where a partition ends, and where what may be read of it ends while a transaction is open."""

import copy
from collections.abc import Collection
from typing import Any, NamedTuple

from aiokafka.consumer.fetcher import READ_UNCOMMITTED


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
    stable = ends = await consumer.end_offsets(keys)
    if getattr(consumer._fetcher, "_isolation_level", READ_UNCOMMITTED) != READ_UNCOMMITTED:
        of_all = copy.copy(consumer._fetcher)  # asks over the same client; nothing else is done with it
        of_all._isolation_level = READ_UNCOMMITTED
        ends = await of_all.end_offsets(keys, consumer._request_timeout_ms)
    return {key: LogEnd(max(ends.get(key, -1), end), end) for key, end in stable.items()}
