"""Records of a dead-letter topic, parsed as untrusted input, because anybody may have written them.

A dead letter is the record as it was, its own headers first, and behind them what `dead_letter.headers` added. The added
ones begin at the *last* `__dlq.errors.topic`: a record that had headers of that name of its own keeps them.

Source: the delivery contract, "Dead letters".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpsd.core.idempotency import record_id_in_dead_letter
from mpsd.core.record import Record, TopicPartition
from mpsd.core.retry import Disposition

FIRST_ADDED = "__dlq.errors.topic"
PARTITION = "__dlq.errors.partition"
DIGITS_MAX = 18
"""A number of the contract is below 2^63; longer ones are no numbers of ours."""

DISPOSITIONS = {each.value: each for each in Disposition}

RecordHeaders = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Omitted:
    """A value that was too large for the dead-letter topic.

    Attributes:
        sha256: in hexadecimal digits; empty if it is not said.
        source: where the value stands, as `topic/partition@offset`.
    """

    sha256: str
    value_bytes: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRecord:
    """A dead letter.

    Attributes:
        tp: where it stands in the dead-letter topic.
        offset: likewise.
        source: the partition that the record was read from.
        source_offset: its offset there.
        record_id: what names the record among all records of all topics; empty if it is not said.
        subscription: whose it is; empty if that is not said, as by Kafka's share groups.
        disposition: None if it is not said, or none of ours.
        status: of the last answer, 0 up to 999; None if there was none.
        attempts: deliveries that counted.
        replays: how often it was brought back before.
        timestamp: the record's own, ms since the epoch; -1 if it had none.
        dead_lettered_at_ms: ms since the epoch.
        headers: the record's own.
        omitted: what is known of a value that did not fit; None if the value is here.
    """

    tp: TopicPartition
    offset: int
    source: TopicPartition
    source_offset: int
    record_id: bytes
    group: str
    subscription: str
    disposition: Disposition | None
    status: int | None
    reason: str
    attempts: int
    replays: int
    timestamp: int
    dead_lettered_at_ms: int
    first_failed_at_ms: int | None
    last_failed_at_ms: int | None
    endpoint: str
    excerpt: bytes
    key: bytes | None
    value: bytes | None
    headers: RecordHeaders
    omitted: Omitted | None


@dataclass(frozen=True, slots=True)
class Foreign:
    """A record that another program wrote."""

    why: str


def parse(record: Record) -> DeadLetterRecord | Foreign:
    """Parse a record of a dead-letter topic; nothing is raised, whatever the record is.

    What does not say where it came from is foreign. Everything else may be missing.
    """
    begin = _first_added(record.headers)
    if begin is None:
        return Foreign(f"it has no header {FIRST_ADDED}")
    said = {name: value for name, value in record.headers[begin:] if value is not None}
    partition, offset = _number(said, PARTITION), _number(said, "__dlq.errors.offset")
    if not (topic := _text(said, FIRST_ADDED)) or partition is None or offset is None:
        return Foreign("its headers do not say where it came from")
    timestamp = _number(said, "mps-dlq-timestamp")
    return DeadLetterRecord(
        tp=TopicPartition(record.topic, record.partition),
        offset=record.offset,
        source=TopicPartition(topic, partition),
        source_offset=offset,
        record_id=record_id_in_dead_letter(said.get("mps-dlq-record-id", b"")),
        group=_text(said, "__dlq.errors.group"),
        subscription=_text(said, "mps-dlq-subscription"),
        disposition=DISPOSITIONS.get(_text(said, "mps-dlq-disposition")),
        status=_number(said, "mps-dlq-status", digits_max=3),
        reason=_text(said, "mps-dlq-reason") or _text(said, "__dlq.errors.message"),
        attempts=_number(said, "__dlq.errors.delivery.count") or 0,
        replays=_number(said, "mps-dlq-replays", digits_max=9) or 0,
        timestamp=-1 if timestamp is None else timestamp,
        dead_lettered_at_ms=record.timestamp,
        first_failed_at_ms=_number(said, "mps-dlq-first-failed-at"),
        last_failed_at_ms=_number(said, "mps-dlq-last-failed-at"),
        endpoint=_text(said, "mps-dlq-endpoint"),
        excerpt=said.get("mps-dlq-excerpt", b""),
        key=record.key,
        value=record.value,
        headers=record.headers[:begin],
        omitted=_omitted(said),
    )


def source_of(record: Record) -> TopicPartition | None:
    """Return the source partition that a record of a dead-letter topic names, as `parse` does; None only if it is foreign.

    A dead-letter partition has the records of several source partitions where it must, and whoever wants those of one
    looks here first: it takes a tenth of the time.
    """
    partition: bytes | None = None
    for name, value in reversed(record.headers):
        if name == FIRST_ADDED:
            number = _digits(partition)
            return TopicPartition(value.decode(errors="replace"), number) if value and number is not None else None
        if name == PARTITION and partition is None:
            partition = value
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """A filter of dead letters; a dead letter matches if all fields match.

    Attributes:
        since_ms: dead-lettered at this time or later; None: whenever.
        until_ms: dead-lettered before this time; None: whenever.
        dispositions: empty: any, those that nobody knows among them.
        statuses: empty: any, none among them.
        reason_contains: in upper or lower case; empty: any reason.
        topic: that it was read from; empty: any.
        partition: likewise; only with a topic.
        key: None: any, none among them.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    dispositions: frozenset[Disposition] = frozenset()
    statuses: frozenset[int] = frozenset()
    reason_contains: str = ""
    topic: str = ""
    partition: int | None = None
    key: bytes | None = None

    def matches(self, dead_letter: DeadLetterRecord) -> bool:
        at_ms, source = dead_letter.dead_lettered_at_ms, dead_letter.source
        return (
            (self.since_ms is None or at_ms >= self.since_ms)
            and (self.until_ms is None or at_ms < self.until_ms)
            and (not self.dispositions or dead_letter.disposition in self.dispositions)
            and (not self.statuses or dead_letter.status in self.statuses)
            and (not self.reason_contains or self.reason_contains.casefold() in dead_letter.reason.casefold())
            and (not self.topic or source.topic == self.topic)
            and (self.partition is None or source.partition == self.partition)
            and (self.key is None or dead_letter.key == self.key)
        )


EVERY_DEAD_LETTER = DeadLetterFilter()


def _first_added(headers: RecordHeaders) -> int | None:
    """Return the index of the first added header; None if there is none."""
    for index in range(len(headers) - 1, -1, -1):
        if headers[index][0] == FIRST_ADDED:
            return index
    return None


def _text(said: Mapping[str, bytes], name: str) -> str:
    return said.get(name, b"").decode(errors="replace")


def _number(said: Mapping[str, bytes], name: str, digits_max: int = DIGITS_MAX) -> int | None:
    """Return a header as a number; None if it is missing or no number of ours."""
    return _digits(said.get(name), digits_max)


def _digits(digits: bytes | None, digits_max: int = DIGITS_MAX) -> int | None:
    return int(digits) if digits and digits.isdigit() and len(digits) <= digits_max else None


def _omitted(said: Mapping[str, bytes]) -> Omitted | None:
    if said.get("mps-dlq-value") != b"omitted":
        return None
    return Omitted(
        sha256=_text(said, "mps-dlq-value-sha256"),
        value_bytes=_number(said, "mps-dlq-value-bytes") or 0,
        source=_text(said, "mps-dlq-value-source"),
    )
