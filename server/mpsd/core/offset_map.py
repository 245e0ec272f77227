"""The offset map: what a commit says beside its offset, as text in the metadata of the commit.

    mps2a…      version 2, packed in ASCII        mps2u…      packed in UTF-16
    mps1a…      version 1, which says nothing of the topic's incarnation; written where that is unknown

    mpsr01234567;…                          the reset that was applied last, if any was, before either or alone

    text        "mps", version, packing, then packed: length (2 bytes), checksum (4), incarnation (24), body
    checksum    CRC-32 of topic, partition and base offset, of the incarnation, and of the body
    incarnation the topic's id (16), 8 bytes of a digest of the cluster's; zeros where unknown
    body        the finished runs beyond the base, then the attempts of unfinished records

What is read back is untrusted. The checksum tells a map from anything else, and a map of this commit from one of another.
A map that does not lie within the log is a map of another log, and so is one of another incarnation: a commit outlives a
topic that is deleted while it is under way, and tools that mirror clusters copy commits with all they say. Whatever is
wrong, the map is ignored as a whole and its records are delivered again: the group repeats, but skips nothing.
`docs/reference/offset-map.md` is the format for others.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple
from zlib import crc32

from mpsd.core.byte_reader import ByteReader, Malformed, number, rice, rice_bytes
from mpsd.core.incarnation import CLUSTER_TAG_BYTES, TOPIC_ID_BYTES, UNKNOWN, Incarnation
from mpsd.core.metadata_text import Packing, bytes_in, pack, unpack
from mpsd.core.offset_tracker import Run, Snapshot, Spread, next_offset_after
from mpsd.core.record import TopicPartition
from mpsd.core.run_codes import FIXED_BYTES, decode_runs, encode_runs, rice_parameter

VERSION = 2
UNBOUND_VERSION = 1
HEAD_UNITS = 5
LENGTH_BYTES = 2
CHECKSUM_BYTES = 4
BOUND_BYTES = TOPIC_ID_BYTES + CLUSTER_TAG_BYTES
HEAD_BYTES = LENGTH_BYTES + CHECKSUM_BYTES + BOUND_BYTES
BODY_BYTES_MIN = 64
NO_BOUND = 1 << 63
RESET_UNITS = 13
PADDING = " "
"""Means nothing at the end of a text."""
UNPROVEN_UNITS = 256
"""Maps are no longer until the broker is known to take more: half of the smallest limit that was met, 512."""
_RESET = re.compile(r"mpsr([0-9a-f]{8});(.*)", re.DOTALL)
_FORM = re.compile(r"mps([0-9]{1,4})([a-z])(.*)", re.DOTALL)
_PACKINGS = {Packing.ASCII: "a", Packing.UTF16: "u"}
_BOUND_BYTES = {str(UNBOUND_VERSION): 0, str(VERSION): BOUND_BYTES}
_LETTERS = {dead_letter: packing for packing, dead_letter in _PACKINGS.items()}

Runs = tuple[Run, ...]
Attempts = tuple[tuple[int, int], ...]
"""(offset, attempts spent), ascending."""


class MapSpace(NamedTuple):
    """The space for maps in a commit.

    Attributes:
        units_max: UTF-16 units, or bytes where `packing` is ASCII, that the broker takes.
    """

    packing: Packing
    units_max: int

    @property
    def body_bytes(self) -> int:
        """Return the bytes for runs and attempts; with too few nothing is written."""
        body_bytes = bytes_in(self.units_max - HEAD_UNITS, self.packing) - HEAD_BYTES
        return body_bytes if body_bytes >= BODY_BYTES_MIN else 0

    @property
    def worst_bits_max(self) -> int:
        """The `worst_bits` up to which offsets are read: three quarters, as the rest is for attempts."""
        return (self.body_bytes - FIXED_BYTES) * 8 * 3 // 4 if self.body_bytes else NO_BOUND

    def beside_reset(self, reset_id: str) -> "MapSpace":
        """Return the space that is left if the commit names a reset, for which the attempts' quarter has room."""
        return self._replace(units_max=max(0, self.units_max - RESET_UNITS)) if reset_id else self

    def halved(self) -> "MapSpace":
        """For a broker that takes less than it was told to; in the end commits carry no map, and nothing is held up."""
        return self._replace(units_max=self.units_max // 2)


class Encoded(NamedTuple):
    """A map as text, empty where there is nothing to say.

    Attributes:
        attempts_left_out: records whose attempts did not fit: the lowest.
        offsets_left_out: finished offsets that did not fit: the highest. None, unless the space became smaller.
    """

    text: str
    attempts_left_out: int
    offsets_left_out: int


class OffsetMap(NamedTuple):
    """A commit's metadata, decoded."""

    runs: Runs
    attempts: Attempts


class Ignored(StrEnum):
    """The reason why a map is not used."""

    FOREIGN = "foreign"
    OTHER_VERSION = "other-version"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    MALFORMED = "malformed"
    BEYOND_LOG_END = "beyond-log-end"
    OTHER_TOPIC = "other-topic"
    OTHER_CLUSTER = "other-cluster"

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    Ignored.FOREIGN: "another program wrote it",
    Ignored.OTHER_VERSION: "another version of this program wrote it",
    Ignored.TRUNCATED: "its end is missing",
    Ignored.DAMAGED: "its checksum does not match: it was changed, or belongs to another commit",
    Ignored.MALFORMED: "its checksum matches, but it says what cannot be",
    Ignored.BEYOND_LOG_END: "it names offsets beyond the end of the log: it belongs to another one",
    Ignored.OTHER_TOPIC: "it is of a topic of this name that was deleted since then",
    Ignored.OTHER_CLUSTER: "it is of a topic of another cluster, from where somebody copied it",
}
OTHER_INCARNATION = frozenset({Ignored.OTHER_TOPIC, Ignored.OTHER_CLUSTER})
EMPTY = OffsetMap((), ())


class Bound(NamedTuple):
    """The incarnation that a map says it is of; both are empty where it does not."""

    topic_id: bytes
    cluster_tag: bytes


class _Read(NamedTuple):
    """A text that has the form of a map.

    Attributes:
        is_intact: the text is as it was written, for this partition and offset.
    """

    bound: Bound
    body: bytes
    is_intact: bool


def encode(snapshot: Snapshot, tp: TopicPartition, space: MapSpace, incarnation: Incarnation = UNKNOWN) -> Encoded:
    """Return the snapshot as text of `space.units_max` units at most.

    Args:
        incarnation: the topic that the snapshot is of. Where it is known, a map that has nothing else to say says that.
    """
    base, runs, attempts = snapshot
    runs, code = _fitting_runs(base, runs, space.body_bytes - 1)  # a byte at least says how many attempts there are
    attempts = _fitting_attempts(base, attempts, space.body_bytes - len(code))
    left_out = len(snapshot.attempts) - len(attempts), _count(snapshot.runs) - _count(runs)
    bound = b"" if incarnation == UNKNOWN else _bound_bytes(incarnation)
    if not runs and not attempts and not (bound and space.body_bytes):
        return Encoded("", *left_out)
    body = code + _encode_attempts(base, attempts)
    data = len(body).to_bytes(LENGTH_BYTES, "big") + _checksum(tp, base, bound + body) + bound + body
    version = VERSION if bound else UNBOUND_VERSION
    return Encoded(f"mps{version}{_PACKINGS[space.packing]}{pack(data, space.packing)}", *left_out)


def split_reset(text: str) -> tuple[str, str]:
    """Return the id of the reset that a commit names, empty for none, and the rest of the text, without padding."""
    text = text.rstrip(PADDING)
    found = _RESET.fullmatch(text)
    return (found[1], found[2]) if found is not None else ("", text)


def padded(text: str, units_max: int) -> str:
    """Return the text of a commit at its full length, which tells whether the broker takes as much."""
    return text.ljust(units_max, PADDING)


def with_reset(reset_id: str, text: str) -> str:
    """Return the text of a commit that names a reset, `RESET_UNITS` longer if there is one."""
    return f"mpsr{reset_id};{text}" if reset_id else text


def decode(
    text: str, tp: TopicPartition, next_offset: int, log_start: int, log_end: int, incarnation: Incarnation = UNKNOWN
) -> OffsetMap | Ignored:
    """Return what a commit of `next_offset` says beside it; whatever the text is, nothing is raised.

    Args:
        log_start: runs below it are left out.
        log_end: runs or attempts beyond it make the map one of another log.
        incarnation: the topic that is read; where it is unknown, a map of any is taken.
    """
    read = _read(text, tp, next_offset)
    if not isinstance(read, _Read):
        return read
    if (other := _other_incarnation(read.bound, incarnation)) is not None:
        return other
    if not read.is_intact:
        return Ignored.DAMAGED
    try:
        runs, attempts = _parse(read.body, next_offset)
    except Malformed:
        return Ignored.MALFORMED
    if (runs and runs[-1].stop > log_end) or (attempts and attempts[-1][0] >= log_end):
        return Ignored.BEYOND_LOG_END
    kept = tuple(Run(max(run.start, log_start), run.stop) for run in runs if run.stop > log_start)
    return OffsetMap(kept, tuple((offset, spent) for offset, spent in attempts if offset >= log_start))


def is_of_former_topic(text: str, tp: TopicPartition, next_offset: int, incarnation: Incarnation) -> bool:
    """Return True if the commit was made of a topic of this name and cluster that was deleted since then.

    Its offset means nothing in the present topic. A commit that was copied from another cluster is not meant: whoever
    copied it has translated the offset.
    """
    read = _read(text, tp, next_offset)
    return (
        isinstance(read, _Read)
        and read.is_intact
        and _other_incarnation(read.bound, incarnation) is Ignored.OTHER_TOPIC
    )


def bound_of(text: str) -> Bound | None:
    """Return the incarnation that a text beside a commit says it is of; None if the text is no map, or says none."""
    read = _read(text, TopicPartition("", 0), 0)
    return read.bound if isinstance(read, _Read) and any(read.bound) else None


def _read(text: str, tp: TopicPartition, base: int) -> "_Read | OffsetMap | Ignored":
    """Return a text's parts, without belief in any; EMPTY where there is no text."""
    _, text = split_reset(text)
    if not text:
        return EMPTY
    if (form := _FORM.fullmatch(text)) is None:
        return Ignored.FOREIGN
    version, dead_letter, packed = form.groups()
    if version not in _BOUND_BYTES:
        return Ignored.OTHER_VERSION
    if (packing := _LETTERS.get(dead_letter)) is None:
        return Ignored.DAMAGED
    try:
        data = unpack(packed, packing)
    except ValueError:
        return Ignored.DAMAGED
    begin = LENGTH_BYTES + CHECKSUM_BYTES
    middle = begin + _BOUND_BYTES[version]
    stop = middle + int.from_bytes(data[:LENGTH_BYTES], "big")
    if len(data) < stop:
        return Ignored.TRUNCATED
    checksum = _checksum(tp, base, data[begin:stop])
    is_intact = data[LENGTH_BYTES:begin] == checksum and pack(data[:stop], packing) == packed
    return _Read(_bound(data[begin:middle]), data[middle:stop], is_intact)


def _other_incarnation(bound: Bound, incarnation: Incarnation) -> Ignored | None:
    """Return why a map is not of the incarnation; None where it is, or where nobody can know."""
    clusters = {bound.cluster_tag, incarnation.cluster_tag} - {b""}
    topics = {bound.topic_id, incarnation.topic_id} - {b""}
    if len(topics) == 1 and bound.topic_id and incarnation.topic_id:
        return None
    if len(clusters) > 1:
        return Ignored.OTHER_CLUSTER
    return Ignored.OTHER_TOPIC if len(topics) > 1 else None


def _bound_bytes(incarnation: Incarnation) -> bytes:
    topic_id = incarnation.topic_id or bytes(TOPIC_ID_BYTES)
    return topic_id + (incarnation.cluster_tag or bytes(CLUSTER_TAG_BYTES))


def _bound(data: bytes) -> Bound:
    topic_id, cluster_tag = data[:TOPIC_ID_BYTES], data[TOPIC_ID_BYTES:]
    return Bound(topic_id if any(topic_id) else b"", cluster_tag if any(cluster_tag) else b"")


def _checksum(tp: TopicPartition, base: int, rest: bytes) -> bytes:
    return crc32(f"{tp}@{base}\n".encode() + rest).to_bytes(CHECKSUM_BYTES, "big")


def _parse(body: bytes, base: int) -> tuple[list[Run], list[tuple[int, int]]]:
    reader = ByteReader(body)
    runs = decode_runs(reader, base)
    attempts = _decode_attempts(reader, base)
    reader.end()
    starts = [run.start for run in runs]
    for offset, _ in attempts:
        before = bisect_right(starts, offset)
        if before and offset < runs[before - 1].stop:
            raise Malformed("attempts of a finished record")
    return runs, attempts


def _encode_attempts(base: int, attempts: Attempts) -> bytes:
    """Encode the count, then for each the distance from the one before (or the base), then attempts spent, less one."""
    return number(len(attempts)) + b"".join(bytes([k]) + rice(values, k) for values, k in _lists(base, attempts))


def _attempts_bytes(base: int, attempts: Attempts) -> int:
    """Return the length of encoded attempts without encoding them."""
    return len(number(len(attempts))) + sum(1 + rice_bytes(values, k) for values, k in _lists(base, attempts))


def _lists(base: int, attempts: Attempts) -> Iterator[tuple[list[int], int]]:
    """Return the numbers of both lists, and their parameters."""
    ends = (base, *(next_offset_after(offset) for offset, _ in attempts))
    between = [offset - end for (offset, _), end in zip(attempts, ends, strict=False)]
    for values in (between, [spent - 1 for _, spent in attempts]) if attempts else ():
        yield values, rice_parameter(Spread(sum(values), len(values)))


def _decode_attempts(reader: ByteReader, base: int) -> list[tuple[int, int]]:
    count = reader.number()
    if not count:
        return []
    attempts, at = [], base
    between, spent = (reader.rice(count, reader.byte()) for _ in range(2))
    for step, more in zip(between, spent, strict=True):
        attempts.append((at + step, more + 1))
        at = next_offset_after(at + step)
    return attempts


def _fitting_runs(base: int, runs: Runs, room: int) -> tuple[Runs, bytes]:
    """Return as many of the lowest runs as fit, and their code."""
    code = encode_runs(base, runs)
    if len(code) <= room:
        return runs, code
    least, most = 0, len(runs) - 1
    while least < most:  # the code of fewer runs is not always shorter, but whatever is returned was tried
        middle = (least + most + 1) // 2
        if len(encode_runs(base, runs[:middle])) <= room:
            least = middle
        else:
            most = middle - 1
    return runs[:least], encode_runs(base, runs[:least])


def _fitting_attempts(base: int, attempts: Attempts, room: int) -> Attempts:
    """About as many as fit: the most attempts first, and of equals the lowest offset."""
    kept, ranked = attempts, None
    while kept and (size := _attempts_bytes(base, kept)) > room:
        ranked = ranked or sorted(attempts, key=lambda each: (-each[1], each[0]))
        kept = tuple(sorted(ranked[: len(kept) * max(room, 0) * 15 // (size * 16)]))  # a little less, to be there soon
    return kept


def _count(runs: Runs) -> int:
    return sum(run.stop - run.start for run in runs)
