"""Batches of records: decompressed with a bound, and each that cannot be read ends its partition alone.

A few kilobytes can stand for gigabytes, and producers choose, not we.

Each format is a sequence of blocks whose headers say how much a block can become. So the most that a batch can become is
known before a byte of it is decompressed. Where that is more than the bound, because blocks were cut short, the batch is
decompressed into a buffer of the bound's size, and refused if it does not fit.

The library lets the error of a batch out of the call that hands out records of many partitions: what it had taken of the
others by then was gone, and their positions had moved on. So such a batch is noted, and takes nothing from the others.

Source: RFC 8878 (Zstandard), the LZ4 frame format, the framing of snappy-java, RFC 1952 (gzip).
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from struct import unpack_from
from typing import Any, NamedTuple

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as fast_records
from typing_extensions import override

BYTES_MAX = 32 << 20
"""Bound of processes that set none; `kafka.batch_bytes_max` by default."""
_ZSTD_MAGIC, _ZSTD_BLOCK = 0xFD2FB528, 128 << 10
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_LZ4_MAGIC, _LZ4_BLOCKS = 0x184D2204, {4: 64 << 10, 5: 256 << 10, 6: 1 << 20, 7: 4 << 20}
_LZ4_RATIO = 255
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_GZIP = 31
_bytes_max = BYTES_MAX


class BatchTooLargeError(CorruptRecordException):  # type: ignore[misc]  # the library is not typed
    """A batch that is larger than the bound once it is decompressed."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"larger than kafka.batch_bytes_max, {bytes_max}, once it is decompressed")


def bound_batches(bytes_max: int) -> None:
    """Let no batch become larger, and let none that cannot be read take records of others; for the whole process."""
    global _bytes_max  # noqa: PLW0603 - the library's decoders are functions of its modules, and have no other place either
    _bytes_max = bytes_max
    for module in (default_records, fast_records):
        module.zstd_decode, module.lz4_decode = zstd_decode, lz4_decode
        module.snappy_decode, module.gzip_decode = snappy_decode, gzip_decode
    fetcher.PartitionRecords = _Records


def zstd_decode(payload: bytes) -> bytes:
    """Decompress; raises BatchTooLargeError."""
    return _decoded(payload, zstd_bound, cramjam.zstd.decompress, cramjam.zstd.decompress_into)


def lz4_decode(payload: bytes) -> bytes:
    """Decompress; raises BatchTooLargeError."""
    return _decoded(payload, lz4_bound, cramjam.lz4.decompress, cramjam.lz4.decompress_into)


def snappy_decode(payload: bytes) -> bytes:
    """Decompress; raises BatchTooLargeError."""
    if not payload.startswith(_XERIAL):
        if snappy_length(payload, 0) > _bytes_max:
            raise BatchTooLargeError(_bytes_max)
        return bytes(cramjam.snappy.decompress_raw(payload))
    blocks, at, total = [], _XERIAL_HEADER_BYTES, 0
    while at < len(payload):
        (size,) = unpack_from("!i", payload, at)
        at += 4
        total += snappy_length(payload, at)
        if total > _bytes_max:
            raise BatchTooLargeError(_bytes_max)
        blocks.append(bytes(cramjam.snappy.decompress_raw(payload[at : at + size])))
        at += size
    return b"".join(blocks)


def gzip_decode(payload: bytes) -> bytes:
    """Decompress every member; raises BatchTooLargeError."""
    rest, parts, left = bytes(payload), [], _bytes_max
    while rest:
        member = zlib.decompressobj(_GZIP)
        part = member.decompress(rest, left + 1)
        left -= len(part)
        if left < 0:
            raise BatchTooLargeError(_bytes_max)
        if not member.eof:
            raise CorruptRecordException("a gzip member ends too early")
        parts.append(part)
        rest = member.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _decoded(
    payload: bytes,
    bound: Callable[[bytes], int],
    decompress: Callable[[bytes], object],
    decompress_into: Callable[[bytes, bytearray], int],
) -> bytes:
    if bound(payload) <= _bytes_max:
        return bytes(decompress(payload))  # type: ignore[call-overload, no-any-return]
    room = bytearray(_bytes_max)
    try:
        return bytes(memoryview(room)[: decompress_into(payload, room)])
    except cramjam.DecompressionError as error:
        raise BatchTooLargeError(_bytes_max) from error


def zstd_bound(payload: bytes) -> int:
    """Return the most that the frames can become; they need not be whole."""
    at, total, end = 0, 0, len(payload)
    while at + 4 <= end:
        (magic,) = unpack_from("<I", payload, at)
        at += 4
        if magic in _SKIPPABLE and at + 4 <= end:
            at += 4 + int(unpack_from("<I", payload, at)[0])
            continue
        if magic != _ZSTD_MAGIC or at >= end:
            break  # whatever follows is no frame, and the decompressor says so
        described = payload[at]
        is_single, has_checksum = bool(described & 0x20), bool(described & 0x04)
        size_bytes = (1 if is_single else 0, 2, 4, 8)[described >> 6]
        at += 1 + (not is_single) + (0, 1, 2, 4)[described & 3] + size_bytes
        is_last = False
        while not is_last and at + 3 <= end:
            header = int.from_bytes(payload[at : at + 3], "little")
            is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            total += _ZSTD_BLOCK if kind == 2 else size
            at += 3 + (1 if kind == 1 else size)
        at += 4 if has_checksum else 0
    return total


def lz4_bound(payload: bytes) -> int:
    """Return the most that the frames can become; they need not be whole."""
    at, total, end = 0, 0, len(payload)
    while at + 7 <= end:
        (magic,) = unpack_from("<I", payload, at)
        if magic in _SKIPPABLE:
            at += 8 + int(unpack_from("<I", payload, at + 4)[0]) if at + 8 <= end else end
            continue
        if magic != _LZ4_MAGIC:
            break
        flags, block_max = payload[at + 4], _LZ4_BLOCKS.get(payload[at + 5] >> 4 & 7, 4 << 20)
        at += 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
        while at + 4 <= end:
            (word,) = unpack_from("<I", payload, at)
            at += 4
            if not word:
                at += 4 if flags & 0x04 else 0
                break
            size = word & 0x7FFFFFFF
            total += size if word >> 31 else min(block_max, size * _LZ4_RATIO)
            at += size + (4 if flags & 0x10 else 0)
    return total


def snappy_length(payload: bytes, at: int) -> int:
    """Return the length that a raw block says it has, in its first bytes; the decompressor holds it to that."""
    length = shift = 0
    for byte in payload[at : at + 5]:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return length


UNREADABLE = (KafkaError, cramjam.DecompressionError, ValueError, OSError, EOFError, zlib.error, struct.error)
"""Errors of a batch: of its checksum, its size once it is decompressed, or its codec."""


class Unreadable(NamedTuple):
    """A batch that cannot be read.

    Attributes:
        key: the partition as the client library names it.
        offset: of the next record that would have been handed out.
    """

    key: Any
    offset: int
    reason: str


_found: ContextVar[list[Unreadable] | None] = ContextVar("unreadable batches", default=None)


@contextmanager
def collecting() -> Iterator[list[Unreadable]]:
    """Gather the batches that cannot be read while the block runs, and let none of them be an error."""
    found: list[Unreadable] = []
    token = _found.set(found)
    try:
        yield found
    finally:
        _found.reset(token)


class _Records(fetcher.PartitionRecords):  # type: ignore[misc]  # the library is not typed
    _records_iterator: Any

    @override
    def __next__(self) -> Any:
        try:
            return next(self._records_iterator)
        except StopIteration:
            self._records_iterator = None
            raise
        except UNREADABLE as error:
            if (found := _found.get()) is None:
                raise
            self._records_iterator = None
            found.append(Unreadable(self._tp, self.next_fetch_offset, _reason_of(error)))
            raise StopIteration from None


def _reason_of(error: BaseException) -> str:
    return ", ".join(map(str, error.args)) or type(error).__name__
