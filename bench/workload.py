"""Workloads: topics that are filled once, and that each run reads with its own group."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

from bench.callers import TIME_DIGITS
from mpsd.kafka.topics import Message, Topics

SEED = 20_111
CHUNK_RECORDS = 20_000
"""Number of records that are produced at once, because each waits in memory for its acknowledgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The records of a topic.

    Attributes:
        records: number of records.
        partitions: number of partitions.
        keys: number of keys.
        zipf: exponent of the Zipf distribution of the keys; 0: uniform.
        value_bytes: size of a value.
    """

    records: int
    partitions: int = 8
    keys: int = 10_000
    zipf: float = 0.0
    value_bytes: int = 1024

    def key_numbers(self) -> Iterator[int]:
        """Yield the numbers of the keys; they are the same at each call."""
        rng = random.Random(SEED)
        if not self.zipf:
            while True:
                yield rng.randrange(self.keys)
        weights = list(accumulate(rank**-self.zipf for rank in range(1, self.keys + 1)))
        while True:
            yield from rng.choices(range(self.keys), cum_weights=weights, k=1000)

    def messages(self) -> Iterator[Message]:
        value = random.Random(SEED).randbytes(self.value_bytes)
        for number in islice(self.key_numbers(), self.records):
            yield Message(b"key-%d" % number, value)


async def fill(topics: Topics, topic: str, workload: Workload) -> None:
    """Create the topic, and produce all its records."""
    await topics.create(topic, workload.partitions)
    messages = workload.messages()
    while chunk := list(islice(messages, CHUNK_RECORDS)):
        await topics.produce(topic, chunk)


def timed(key_number: int, value_bytes: int) -> Message:
    """Return a message whose value begins with the present time; see `bench.sink`."""
    stamp = b"%0*d" % (TIME_DIGITS, time.time_ns())
    return Message(b"key-%d" % key_number, stamp.ljust(value_bytes, b"."))


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticRecord:
    """A record that was never in a broker."""

    offset: int
    key: bytes
    value: bytes
    topic: str = "bench"
    partition: int = 0
    timestamp: int = 1_700_000_000_000
    headers: Sequence[tuple[str, bytes | None]] = ()


def synthetic(records: int, keys: int, value_bytes: int) -> Iterator[SyntheticRecord]:
    """Yield the records of one partition."""
    workload = Workload(records=records, keys=keys, value_bytes=value_bytes)
    for offset, message in enumerate(workload.messages()):
        assert message.key is not None
        assert message.value is not None
        yield SyntheticRecord(offset=offset, key=message.key, value=message.value)
