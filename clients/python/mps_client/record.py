"""A record as a handler meets it, whichever protocol brought it."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

from mps_client.verdicts import DeadLetter, Retry, Verdict, verdict_of

_logger = logging.getLogger("mps_client")
OCTET_STREAM = "application/octet-stream"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Holder(Protocol):
    """The receiver of a record's verdict."""

    def settle(self, record: "Record", verdict: Verdict | None) -> None:
        """None: it was processed."""

    def release(self, record: "Record") -> None:
        """Nobody will say what became of it. One of the two is called, once."""


class Record:
    """One delivery of one record.

    `async with record:` settles it by itself: a normal end means processed, `DeadLetter` and `Retry` what they say, and
    any other exception means retry. None of these leaves the block. What is not an `Exception` (a cancellation) does,
    and releases the record: the daemon delivers it again when its lease is over, or as soon as the stream closes.

    Attributes:
        key: None: it has none, which is not the empty key.
        value: None: a tombstone, which is not the empty value.
        headers: in order; names may repeat, a value may be null.
        timestamp_ms: since the Unix epoch; None: it has none.
        attempt: 1 for the first delivery; goes on counting over rebalances and restarts.
        epoch: rises whenever the partition changes hands: a fencing number.
        replay: id of the replay or reset that brought it back; empty otherwise.
        idempotency_key: the same for every attempt, another for every other record, those of a recreated topic and of
            other clusters included, and for a replay. Opaque: keep it and compare it, do not parse it.
        delivery_id: names this attempt within its stream; 0 where there is no stream.
        content_type: the value's media type: the record's own, or as the daemon's configuration says.
        size_bytes: of key, value and headers, as credit counts them; 0 where there is no stream.
    """

    __slots__ = (
        "_holder",
        "attempt",
        "content_type",
        "delivery_id",
        "epoch",
        "headers",
        "idempotency_key",
        "key",
        "offset",
        "partition",
        "replay",
        "size_bytes",
        "timestamp_ms",
        "topic",
        "value",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp_ms: int | None = None,
        attempt: int = 1,
        epoch: int = 0,
        replay: str = "",
        delivery_id: int = 0,
        size_bytes: int = 0,
        holder: Holder | None = None,
        content_type: str = OCTET_STREAM,
        idempotency_key: str = "",
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.key = key
        self.value = value
        self.headers = headers
        self.timestamp_ms = timestamp_ms
        self.attempt = attempt
        self.epoch = epoch
        self.replay = replay
        self.idempotency_key = idempotency_key
        self.delivery_id = delivery_id
        self.size_bytes = size_bytes
        self.content_type = content_type
        self._holder = holder

    def __repr__(self) -> str:
        """Return the record's position, without key and value, because logs show this text."""
        return f"<Record {self.topic}/{self.partition}@{self.offset} attempt={self.attempt}>"

    @property
    def is_tombstone(self) -> bool:
        """True if the value is null."""
        return self.value is None

    @property
    def timestamp(self) -> datetime | None:
        """The record's time, in UTC; None: it has none, or one beyond the year 9999."""
        if self.timestamp_ms is None:
            return None
        try:
            return _EPOCH + timedelta(milliseconds=self.timestamp_ms)
        except OverflowError:
            return None

    def header(self, name: str) -> bytes | None:
        """Value of the first header of that name; None: there is none, or it is null."""
        return next((value for each, value in self.headers if each == name), None)

    def hold(self, holder: Holder) -> None:
        """For who brings records: this one is to be told."""
        self._holder = holder

    # settling by hand
    @property
    def is_settled(self) -> bool:
        """True once the record has a verdict; later verdicts do not count."""
        return self._holder is None

    def ack(self) -> None:
        """Report the record as processed. Only the first verdict counts."""
        holder = self._holder
        if holder is not None:
            self._holder = None
            holder.settle(self, None)

    def retry(self, reason: str = "", *, after_s: float = 0.0) -> None:
        """Deliver it again; the arguments are those of `Retry`."""
        self.reject(Retry(reason, after_s=after_s))

    def dead_letter(self, reason: str = "") -> None:
        """Report that the record never will be processed."""
        self.reject(DeadLetter(reason))

    def reject(self, error: Exception) -> None:
        """Report the verdict of an exception."""
        if not isinstance(error, (Retry, DeadLetter)):
            where = f"{self.topic}/{self.partition}@{self.offset}"
            _logger.warning("%s: the handler failed; the record will be delivered again", where, exc_info=error)
        holder = self._holder
        if holder is not None:
            self._holder = None
            holder.settle(self, verdict_of(error))

    def release(self) -> None:
        """Say nothing of it: delivered again when its lease is over, or at no cost as soon as the stream closes."""
        holder = self._holder
        if holder is not None:
            self._holder = None
            holder.release(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            self.ack()
        elif isinstance(error, Exception):
            self.reject(error)
        else:
            self.release()
        return isinstance(error, Exception)
