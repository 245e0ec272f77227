"""Idempotency keys: what names a record in each of its deliveries, whichever protocol carries them.

A key is opaque to applications. By default it is the record's id, which begins with the id of the topic, so that no two
records of any topics, recreated ones and those of other clusters included, have the same. A producer can set it in a record
header instead, which is the only name of a record that survives the mirroring of a topic.
"""

from collections import Counter
from enum import StrEnum

from mpsd.core.delivery import Delivery
from mpsd.core.percent import JSON_TEXT, percent_encode
from mpsd.core.record import Record

KEY_BYTES_MAX = 256
"""A producer's key that is longer is not used: a signed request carries it twice, beside all other headers."""
VISIBLE_ASCII = bytes(range(0x21, 0x7F))
RECORD_ID_BYTES_MAX = 1_024
"""A record's id in a dead letter that is longer was written by somebody else."""


class Unusable(StrEnum):
    """A reason for which no key of the producer's is used."""

    ABSENT = "absent"
    EMPTY = "empty"
    TOO_LONG = "too-long"
    REPEATED = "repeated"
    NOT_VISIBLE_ASCII = "not-visible-ascii"


class IdempotencyKeys:
    """The idempotency keys of one subscription's deliveries.

    Args:
        header: name of the record header that the producer sets; empty: every key is the record's id.

    """

    def __init__(self, header: str = "") -> None:
        self._header = header.lower()
        self._unusable: Counter[Unusable] = Counter()

    @property
    def are_record_ids(self) -> bool:
        """Return True if no record header is asked."""
        return not self._header

    def of(self, delivery: Delivery) -> bytes:
        """Return the key of a delivery: visible ASCII, the same for every attempt."""
        key = self._chosen(delivery.record)
        return with_replay(record_id(delivery) if isinstance(key, Unusable) else key, delivery.replay)

    def written(self, delivery: Delivery) -> bytes:
        """Return the key of a delivery that is about to be sent, and count it if it is not the producer's."""
        if self._header and delivery.failures is None:
            key = self._chosen(delivery.record)
            if isinstance(key, Unusable):
                self._unusable[key] += 1
        return self.of(delivery)

    def fallbacks(self) -> dict[str, int]:
        """Return how many records have their id for a key though a header is configured, by reason."""
        return {why.value: self._unusable[why] for why in Unusable} if self._header else {}

    def _chosen(self, record: Record) -> bytes | Unusable:
        return key_in_header(record, self._header) if self._header else Unusable.ABSENT


def record_id(delivery: Delivery) -> bytes:
    """Return what names the record among all records of all topics, whatever brought it."""
    return delivery.dead_letter_record_id or b"%b%d" % (delivery.origin.record_prefix, delivery.record.offset)


def with_replay(key: bytes, replay: str | None) -> bytes:
    """Return the key, marked if a replay or reset brought the record back: it is to be processed once more."""
    return key if replay is None else b"%b#%b" % (key, percent_encode(replay.encode(), JSON_TEXT))


def key_in_header(record: Record, name: str) -> bytes | Unusable:
    """Return the key in the record's header of that name, given in lower case, or why it cannot be used."""
    found = [value for given, value in record.headers if given.lower() == name]
    if not found:
        return Unusable.ABSENT
    if len(found) > 1:
        return Unusable.REPEATED
    key = found[0]
    if not key:
        return Unusable.EMPTY
    if len(key) > KEY_BYTES_MAX:
        return Unusable.TOO_LONG
    return Unusable.NOT_VISIBLE_ASCII if key.translate(None, VISIBLE_ASCII) else key


def record_id_in_dead_letter(text: bytes) -> bytes:
    """Return the record's id that a dead letter names; empty if the text is none."""
    is_id = len(text) <= RECORD_ID_BYTES_MAX and not text.translate(None, VISIBLE_ASCII)
    return text if is_id else b""
