"""A record as a handler receives it, over any protocol."""

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
        """Take the verdict on the record; None: the record was processed."""

    def release(self, record: "Record") -> None:
        """Take back a record without a verdict. Either this method or `settle` is called, once."""


class Record:
    """One delivery of one record.

    `async with record:` settles the record at the end of the block. A normal end accepts the record, `DeadLetter`
    dead-letters it, and `Retry` and any other exception ask for another delivery. None of these exceptions leaves the
    block. A `BaseException` that is no `Exception`, such as a cancellation, leaves the block and releases the record: the
    daemon delivers it again when its lease ends, or as soon as the stream closes.

    Attributes:
        topic: the name of the topic.
        partition: the number of the partition, 0 or more.
        offset: the offset in the partition, 0 or more.
        key: the key; None: no key, which differs from an empty key.
        value: the value; None: a tombstone, which differs from an empty value.
        headers: the record's headers, in order; several may have one name, and a value may be null.
        timestamp_ms: the timestamp in milliseconds since the Unix epoch; None: none.
        attempt: the number of the attempt, 1 for the first one. Rebalances and restarts do not reset it.
        epoch: a number that rises when the partition moves to another daemon, to reject results of an earlier owner.
        replay: the id of the replay or reset because of which the record is delivered again; empty: none.
        idempotency_key: the key to recognise repeated deliveries. All attempts of a record have the same key. Other records
            have other keys, also after the topic was recreated and in other clusters. A replay has a new key. Store and
            compare the key, but do not parse it.
        delivery_id: the id of this delivery within its stream; 0: no stream.
        content_type: the media type of the value.
        size_bytes: the size of key, value and headers, as credit counts it; 0: no stream.
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
        """The record's timestamp in UTC; None: none, or one after the year 9999."""
        if self.timestamp_ms is None:
            return None
        try:
            return _EPOCH + timedelta(milliseconds=self.timestamp_ms)
        except OverflowError:
            return None

    def header(self, name: str) -> bytes | None:
        """Return the value of the first header of that name; None if there is none, or if its value is null."""
        return next((value for each, value in self.headers if each == name), None)

    def hold(self, holder: Holder) -> None:
        """Set the receiver of the verdict, for code that makes records."""
        self._holder = holder

    # settling by hand
    @property
    def is_settled(self) -> bool:
        """True if the record has a verdict. Later verdicts are ignored."""
        return self._holder is None

    def ack(self) -> None:
        """Report the record as processed. Later verdicts are ignored."""
        holder = self._holder
        if holder is not None:
            self._holder = None
            holder.settle(self, None)

    def retry(self, reason: str = "", *, after_s: float = 0.0) -> None:
        """Ask for another delivery of the record; the arguments are those of `Retry`."""
        self.reject(Retry(reason, after_s=after_s))

    def dead_letter(self, reason: str = "") -> None:
        """Move the record to the dead-letter topic."""
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
        """Return the record without a verdict: it is delivered again when its lease ends or its stream closes."""
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
