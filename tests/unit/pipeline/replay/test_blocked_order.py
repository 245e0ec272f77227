"""Dead letters of a blocked key that come into their topic out of order, while the key is replayed."""

import asyncio
from dataclasses import asdict

from mpsd.core.blocked_keys import BlockedKey, entity_key
from mpsd.core.record import TopicPartition
from mpsd.errors import KafkaUnavailable
from mpsd.ports import DeadLetter
from tests.fakes.blocked_keys import ONE_KEY, Fleet, fed, one_daemon
from tests.fakes.pipeline import Piped


def refuse(at: Piped, *offsets: int) -> None:
    """Refuse the dead letters of these records, and accept all others."""

    def why(dead_letter: DeadLetter) -> Exception | None:
        return KafkaUnavailable("not now") if dead_letter.delivery.record.offset in offsets else None

    at.sink.refuse = why


async def test_a_dead_letter_that_could_not_be_written_in_time_is_waited_for() -> None:
    async with one_daemon() as (fleet, at):
        refuse(at, 3)
        await fed(at, *ONE_KEY, wait_s=0.5)
        assert fleet.dead_letters() == [(2, "rejected", 0), (5, "blocked", 0)]
        fleet.poison = ()
        await fleet.replay()
        await asyncio.sleep(0.5)
        refuse(at)
        await asyncio.sleep(30.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5]
        assert not fleet.blocked()


async def test_the_next_owner_reads_what_a_former_one_could_not_write_before_it_sends_what_stands_behind() -> None:
    fleet = Fleet()
    async with fleet.daemon() as first:
        refuse(first, 3)
        await fed(first, *ONE_KEY)
    fleet.poison = ()
    async with fleet.daemon(commit=first) as at:
        at.source.is_silent = True
        at.source.assign(epoch=2)
        await fleet.replay()
        await asyncio.sleep(10.0)
        at.source.is_silent = False
        await asyncio.sleep(30.0)
        assert fleet.of(b"k") == [0, 2, 2, 3, 5]
        assert not fleet.blocked()


async def test_dead_letters_of_a_log_that_is_gone_are_not_waited_for() -> None:
    """The recreated topic is far from the positions of the dead letters."""
    fleet = Fleet()
    async with fleet.daemon() as first:
        await fed(first, *ONE_KEY)
    fleet.poison = ()
    async with fleet.daemon() as at:
        at.source.produce(b"o", b"k")
        at.source.assign(epoch=2)
        await asyncio.sleep(5.0)
        await fleet.replay()
        await asyncio.sleep(30.0)
        assert sorted(fleet.of(b"k")) == [0, 1, 2, 2, 3, 5]
        assert not fleet.blocked()


async def test_a_dead_letter_that_was_refused_once_and_waits_for_room_stops_no_partition() -> None:
    """Else nothing of the partition could be replayed, and that alone makes room."""
    fleet = Fleet()
    fleet.poison = {0}
    elsewhere = entity_key("billing", "billing", TopicPartition("orders", 1), b"o")
    async with fleet.daemon(keys_max=1) as at:
        refuse(at, 0)
        await fed(at, b"k")
        fleet.topic.put(elsewhere, asdict(BlockedKey(0, 0, 0, 1)))
        refuse(at)
        await asyncio.sleep(20.0)
        (queue,) = at.queues
        assert queue.crowded == 1
        assert not queue.causes
        fleet.topic.put(elsewhere, None)
        await asyncio.sleep(20.0)
        assert fleet.blocked()
        assert at.committed() == 1
