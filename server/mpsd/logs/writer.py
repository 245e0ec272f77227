"""The thread that writes, so that a terminal on hold or a full pipe stops no heartbeat."""

import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from typing_extensions import override

from mpsd.logs.lines import JsonLines
from mpsd.logs.rate_limit import RateLimit

QUEUE_LINES_MAX = 1000
CLOSE_S = 1.0
"""Time that the end of the daemon waits for its last lines to be taken."""
TICK_S = 1.0
"""Interval at which the writer looks for counts that became due while nothing happened."""


class LogWriter(logging.Handler):
    """Writes admitted lines to a file descriptor; whoever logs never waits.

    Lines beyond a full queue, and those that nobody reads any more, are left out and counted. The descriptor is written
    to directly: nothing stays in a buffer that would fail, or block, once more when the interpreter ends.

    Holds at most: `queue_lines_max` lines.
    """

    def __init__(
        self,
        descriptor: int,
        lines: logging.Formatter,
        *,
        clock: Callable[[], float] = time.monotonic,
        queue_lines_max: int = QUEUE_LINES_MAX,
        tick_s: float = TICK_S,
        close_s: float = CLOSE_S,
    ) -> None:
        super().__init__()
        self.setFormatter(lines)
        self._descriptor = descriptor
        self._clock = clock
        self._limit = RateLimit()
        self._lost = 0
        self._queue: queue.Queue[bytes | None] = queue.Queue(queue_lines_max)
        self._tick_s = tick_s
        self._close_s = close_s
        self._thread = threading.Thread(target=self._run, name="mpsd-logs", daemon=True)
        self._thread.start()

    @property
    def suppressed(self) -> int:
        """Lines left out since the start, for whatever reason."""
        return self._limit.suppressed + self._lost

    def name_instance(self, address: str) -> None:
        """Let every line for programs say which daemon it is of."""
        if isinstance(self.formatter, JsonLines):
            self.formatter.instance = address

    @override
    def __repr__(self) -> str:
        return f"<LogWriter queued={self._queue.qsize()} suppressed={self.suppressed}>"

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            if (line := translated(record)) is not None:
                self._hand_over(self._limit.admit(line, self._clock()))
        except Exception:  # noqa: BLE001 - the boundary: a line that cannot be made must not harm what it tells of
            self.handleError(record)

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        broken = logging.LogRecord(
            record.name, logging.ERROR, "", 0, "a log line could not be made: %r", (record.msg,), None
        )
        self._put(self.format(broken))

    @override
    def close(self) -> None:
        """Write what is queued and what was left out, but wait no longer than `close_s` for each."""
        with self._locked():
            self._hand_over(self._limit.rest(self._clock()))
        with suppress(queue.Full):
            self._queue.put(None, timeout=self._close_s)
            self._thread.join(self._close_s)
        super().close()

    def _locked(self) -> threading.RLock:
        assert self.lock is not None
        return self.lock

    def _hand_over(self, records: Iterable[logging.LogRecord]) -> None:
        for record in records:
            self._put(self.format(record))

    def _put(self, line: str) -> None:
        try:
            self._queue.put_nowait(f"{line}\n".encode(errors="backslashreplace"))
        except queue.Full:
            self._lost += 1

    def _run(self) -> None:
        while True:
            try:
                line = self._queue.get(timeout=self._tick_s)
            except queue.Empty:
                with self._locked():
                    self._hand_over(self._limit.due(self._clock()))
                continue
            if line is None:
                return
            self._write(line)

    def _write(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError:  # the other end is gone, or made it non-blocking and does not read
            self._lost += 1


LIBRARY = "aiokafka"
ROUTINE = re.compile(
    r"Heartbeat failed for group \S+ because it is rebalancing"
    r"|Group Coordinator Request failed: .*(?:CoordinatorNotAvailable|CoordinatorLoadInProgress)"
    r"|Topic \S+ is not available during auto-create initialization"
    r"|Topic \S+ not found in cluster metadata"
    r"|OffsetRequest -- unknown topic"
    r"|Failed fetch messages from \S+: .*(?:NotLeaderForPartition|UnknownTopicOrPartition)"
)
"""Lines of a first start, of a rebalance, or of a topic that is to be created; our own lines say what matters of them."""


def translated(record: logging.LogRecord) -> logging.LogRecord | None:
    """Return the line to write instead of one of the Kafka client library; None if that one is routine.

    The library logs each failed request as an error, also those that it repeats by itself. Our own lines report when
    deliveries or commits stand still, so that a line of the library is at most a warning, unless it has a traceback.
    """
    if record.name.partition(".")[0] != LIBRARY:
        return record
    text = record.getMessage()
    if ROUTINE.match(text):
        return None
    level = record.levelno if record.exc_info else min(record.levelno, logging.WARNING)
    mapped = logging.makeLogRecord(vars(record))
    mapped.levelno, mapped.levelname = level, logging.getLevelName(level)
    mapped.msg, mapped.args = "the Kafka client reports: %s; it retries by itself", (text.rstrip("."),)
    vars(mapped).update({"code": "kafka.client"})
    return mapped
