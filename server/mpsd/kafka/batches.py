"""Batches that cannot be read: they end what is handed out of their partition, and take nothing from the others.

The library lets such an error out of the call that hands out records of many partitions: what it had taken of the others
by then was gone, and their positions had moved on.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError
from typing_extensions import override

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
            found.append(Unreadable(self._tp, self.next_fetch_offset, _words(error)))
            raise StopIteration from None


def _words(error: BaseException) -> str:
    return ", ".join(map(str, error.args)) or type(error).__name__


def end_at_unreadable_batches() -> None:
    """Let the library's consumers make use of it; for the whole process."""
    fetcher.PartitionRecords = _Records
