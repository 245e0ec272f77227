"""Handlers tried without Kafka or daemon."""

import asyncio
from collections.abc import Awaitable
from functools import partial

import pytest

from mps_client import DeadLetter, Record, Retry
from mps_client.testing import deliver, record, rehearse


def test_a_key_is_in_order_also_over_retries() -> None:
    started: list[tuple[bytes | None, int]] = []

    async def handler(given: Record) -> None:
        started.append((given.value, given.attempt))
        await asyncio.sleep(0)
        if given.value == b"1" and given.attempt < 3:
            raise Retry("not yet", after_s=60)

    seen = rehearse(handler, [record(b"1", key=b"a"), record(b"2", key=b"a"), record(b"3", key=b"b")])
    assert [each for each in started if each[0] != b"3"] == [(b"1", 1), (b"1", 2), (b"1", 3), (b"2", 1)]
    assert started.index((b"3", 1)) == 1, "another key does not wait"
    assert {each.value for each in seen.processed} == {b"1", b"2", b"3"}
    assert seen.dead_letters == []
    assert "attempt 1: retry after 60 s: not yet" in str(seen)


def test_dead_letters_say_why() -> None:
    def handler(given: Record) -> None:
        if given.value == b"poison":
            raise DeadLetter("not an order")
        raise OSError("no database")

    seen = rehearse(handler, [record(b"poison"), record(b"unlucky")], attempts_max=3)
    said = {each.record.value: (each.disposition, each.reason, each.record.attempt) for each in seen.dead_letters}
    assert said == {
        b"poison": ("rejected", "not an order", 1),
        b"unlucky": ("attempts-exhausted", "OSError: no database", 3),
    }
    assert seen.processed == []
    assert len(seen.deliveries) == 4


class Noting:
    """A handler that is an object."""

    def __init__(self) -> None:
        self.seen: list[Record] = []

    async def __call__(self, given: Record) -> None:
        await asyncio.sleep(0)
        self.seen.append(given)


def test_handlers_of_every_kind_are_waited_for() -> None:
    handler = Noting()

    def plain(given: Record) -> Awaitable[None]:
        return handler(given)

    for each in (handler, handler.__call__, partial(handler), plain):
        assert len(rehearse(each, [record()]).processed) == 1
    assert len(handler.seen) == 4


async def test_it_runs_in_a_loop_too() -> None:
    async def handler(given: Record) -> None:
        given.ack()
        raise ValueError("after the fact")

    seen = await deliver(handler, [record(), record()])
    assert len(seen.processed) == 2
    assert seen.processed[0].offset + 1 == seen.processed[1].offset


@pytest.mark.parametrize("after_s", [-1.0, 86_401.0])
def test_a_delay_out_of_range_is_an_error_where_it_is_made(after_s: float) -> None:
    with pytest.raises(ValueError, match="after_s"):
        Retry(after_s=after_s)


def test_a_record_has_a_media_type_at_each_attempt() -> None:
    seen: list[str] = []

    async def handler(given: Record) -> None:
        seen.append(given.content_type)
        if given.attempt == 1:
            raise Retry("once more")

    rehearse(
        handler, [record(b"{}", key=b"a"), record(b"x", key=b"a"), record(b"x", key=b"a", content_type="text/css")]
    )
    assert seen == [kind for kind in ("application/json", "application/octet-stream", "text/css") for _ in range(2)]
