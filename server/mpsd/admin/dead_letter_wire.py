"""Dead letters and filters of them, from and to the wire."""

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.refusals import InvalidArgument
from mpsd.admin.times import milliseconds, timestamp
from mpsd.core.dead_letter_record import DeadLetterFilter, DeadLetterRecord
from mpsd.core.pauses import Scope
from mpsd.core.replay_book import ReplayBook
from mpsd.core.retry import Disposition

REASON_BYTES_MAX = 1_024
KEY_BYTES_MAX = 65_536
KEY_BYTES_SHOWN_MAX = 1_024
STATUS_MAX = 599
_TO_WIRE = {each: pb.Disposition.Value(f"DISPOSITION_{each.name}") for each in Disposition}
_FROM_WIRE = {number: each for each, number in _TO_WIRE.items()}


def filter_of(given: pb.DeadLetterFilter, path: str = "filter") -> DeadLetterFilter:
    """Raises InvalidArgument, which names the field."""
    since = milliseconds(given.since) if given.HasField("since") else None
    until = milliseconds(given.until) if given.HasField("until") else None
    partition = given.partition if given.HasField("partition") else None
    if since is not None and until is not None and until <= since:
        raise InvalidArgument(f"{path}.until", "is not after since: nothing could match")
    if unknown := [number for number in given.dispositions if number not in _FROM_WIRE]:
        known = ", ".join(each.value for each in Disposition)
        raise InvalidArgument(f"{path}.dispositions", f"{unknown[0]} is none of {known}")
    if wrong := [status for status in given.statuses if status > STATUS_MAX]:
        raise InvalidArgument(f"{path}.statuses", f"{wrong[0]} is not within 0 and {STATUS_MAX}")
    if len(given.reason_contains.encode()) > REASON_BYTES_MAX:
        raise InvalidArgument(f"{path}.reason_contains", f"has more than {REASON_BYTES_MAX} bytes")
    if partition is not None and (partition < 0 or not given.topic):
        said = f"{partition} is negative" if partition < 0 else "needs topic: which partition of which topic?"
        raise InvalidArgument(f"{path}.partition", said)
    if len(given.key) > KEY_BYTES_MAX:
        raise InvalidArgument(f"{path}.key", f"has {len(given.key)} bytes, more than {KEY_BYTES_MAX}")
    return DeadLetterFilter(
        since_ms=since,
        until_ms=until,
        dispositions=frozenset(_FROM_WIRE[number] for number in given.dispositions),
        statuses=frozenset(given.statuses),
        reason_contains=given.reason_contains,
        topic=given.topic,
        partition=partition,
        key=given.key if given.HasField("key") else None,
    )


def place_of(subscription: str, wanted: DeadLetterFilter) -> Scope:
    """The part of a subscription that the filter names, for `check_topic`."""
    return Scope(subscription, wanted.topic or None, wanted.partition, None)


def wire_filter(wanted: DeadLetterFilter) -> pb.DeadLetterFilter:
    return pb.DeadLetterFilter(
        since=timestamp(wanted.since_ms) if wanted.since_ms is not None else None,
        until=timestamp(wanted.until_ms) if wanted.until_ms is not None else None,
        dispositions=sorted(_TO_WIRE[each] for each in wanted.dispositions),
        statuses=sorted(wanted.statuses),
        reason_contains=wanted.reason_contains,
        topic=wanted.topic,
        partition=wanted.partition,
        key=wanted.key,
    )


def is_replayed(dead_letter: DeadLetterRecord, book: ReplayBook | None) -> bool:
    """Whether a replay is done with it, as far as this instance has read; without a book none ever was."""
    return book is not None and book.is_settled((dead_letter.source, dead_letter.tp.partition), dead_letter.offset)


def dead_letter_of(dead_letter: DeadLetterRecord, book: ReplayBook | None) -> pb.DeadLetter:
    source, disposition = dead_letter.source, dead_letter.disposition
    return pb.DeadLetter(
        source=pb.RecordRef(topic=source.topic, partition=source.partition, offset=dead_letter.source_offset),
        dead_letter=pb.RecordRef(
            topic=dead_letter.tp.topic, partition=dead_letter.tp.partition, offset=dead_letter.offset
        ),
        key=dead_letter.key[:KEY_BYTES_SHOWN_MAX] if dead_letter.key is not None else None,
        disposition=pb.DISPOSITION_UNSPECIFIED if disposition is None else _TO_WIRE[disposition],
        status=dead_letter.status or 0,
        reason=dead_letter.reason,
        attempts=min(dead_letter.attempts, 0xFFFFFFFF),
        replays=dead_letter.replays,
        dead_lettered_at=timestamp(dead_letter.dead_lettered_at_ms),
        first_failed_at=timestamp(dead_letter.first_failed_at_ms)
        if dead_letter.first_failed_at_ms is not None
        else None,
        replayed=is_replayed(dead_letter, book),
    )
