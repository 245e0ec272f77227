"""Lines of the Kafka client library, in our words and at our levels.

The library logs each request that failed as an error, also those that it repeats by itself. Whether deliveries or commits
stand still is what our own lines say, so a line of the library is a warning at most, unless it is a bug with a traceback.
"""

import logging
import re

LIBRARY = "aiokafka"
ROUTINE = re.compile(
    r"Heartbeat failed for group \S+ because it is rebalancing"
    r"|Group Coordinator Request failed: .*(?:CoordinatorNotAvailable|CoordinatorLoadInProgress)"
    r"|Topic \S+ is not available during auto-create initialization"
    r"|Topic \S+ not found in cluster metadata"
    r"|OffsetRequest -- unknown topic"
    r"|Failed fetch messages from \S+: .*(?:NotLeaderForPartition|UnknownTopicOrPartition)"
)
"""What belongs to a first start, to a rebalance, or to a topic that is to be created; our own lines say what matters of it."""


def in_our_words(record: logging.LogRecord) -> logging.LogRecord | None:
    """Return the line to be written in the place of one of the library; None if it says nothing of interest."""
    if record.name.partition(".")[0] != LIBRARY:
        return record
    text = record.getMessage()
    if ROUTINE.match(text):
        return None
    level = record.levelno if record.exc_info else min(record.levelno, logging.WARNING)
    mapped = logging.makeLogRecord(vars(record))
    mapped.levelno, mapped.levelname = level, logging.getLevelName(level)
    mapped.msg, mapped.args = "the Kafka client reports: %s; it tries again by itself", (text.rstrip("."),)
    vars(mapped).update({"code": "kafka.client"})
    return mapped
