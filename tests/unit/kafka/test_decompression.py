"""Batches that become large: each codec, within its bound and beyond it."""

import gzip
from collections.abc import Callable, Iterator

import cramjam
import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from mpsd.kafka import batches as bounded
from mpsd.kafka.batches import UNREADABLE

MIB = 1 << 20
CODECS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "zstd": (zstd_encode, bounded.zstd_decode),
    "lz4": (lz4_encode, bounded.lz4_decode),
    "snappy": (snappy_encode, bounded.snappy_decode),
    "snappy raw": (lambda data: snappy_encode(data, xerial_compatible=False), bounded.snappy_decode),
    "gzip": (gzip_encode, bounded.gzip_decode),
}
every_codec = pytest.mark.parametrize(("encode", "decode"), CODECS.values(), ids=CODECS.keys())


@pytest.fixture(autouse=True)
def one_mib() -> Iterator[None]:
    bounded.bound_batches(MIB)
    yield
    bounded.bound_batches(bounded.BYTES_MAX)


@every_codec
@pytest.mark.parametrize("size", [0, 1, 70_000, MIB])
def test_up_to_the_bound_it_is_as_it_was(
    encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes], size: int
) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert decode(bytes(encode(data))) == data


@every_codec
def test_beyond_the_bound_it_is_refused(encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes]) -> None:
    with pytest.raises(bounded.BatchTooLargeError, match=r"kafka\.batch_bytes_max, 1048576"):
        decode(bytes(encode(bytes(MIB + 1))))


@given(st.lists(st.binary(max_size=3_000), max_size=30))
def test_the_bound_of_zstd_is_never_too_low(chunks: list[bytes]) -> None:
    """Blocks that are cut short by a flush count as whole ones; frames follow each other."""
    compressor = cramjam.zstd.Compressor()
    written = b""
    for chunk in chunks:
        compressor.compress(chunk)
        written += bytes(compressor.flush())
    written += bytes(compressor.finish())
    assert bounded.zstd_bound(written) >= sum(map(len, chunks))
    assert bounded.zstd_decode(written) == b"".join(chunks)


def test_blocks_that_are_cut_short_do_not_make_a_small_batch_large() -> None:
    compressor = cramjam.zstd.Compressor()
    written = b""
    for _ in range(50):
        compressor.compress(b"some text, " * 20)
        written += bytes(compressor.flush())
    written += bytes(compressor.finish())
    assert bounded.zstd_bound(written) > MIB
    assert bounded.zstd_decode(written) == b"some text, " * 1_000


@pytest.mark.parametrize("encode", [zstd_encode, lz4_encode, gzip.compress])
def test_several_frames_count_together(encode: Callable[[bytes], bytes]) -> None:
    half = bytes(encode(bytes(MIB // 2)))
    decode = {zstd_encode: bounded.zstd_decode, lz4_encode: bounded.lz4_decode}.get(encode, bounded.gzip_decode)
    with pytest.raises(bounded.BatchTooLargeError):
        decode(half * 3)


@given(st.binary(max_size=200))
def test_garbage_is_an_error_and_nothing_else(garbage: bytes) -> None:
    for _, decode in CODECS.values():
        try:
            decode(garbage)
        except UNREADABLE:
            continue


@pytest.mark.parametrize("compression", [1, 2, 3, 4])
def test_the_library_decompresses_by_these(compression: int) -> None:
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 8 * MIB)
    builder.append(0, 0, b"k", bytes(2 * MIB), [])
    batch = MemoryRecords(bytes(builder.build())).next_batch()
    with pytest.raises(bounded.BatchTooLargeError):
        list(batch)
