"""The stream adapter: credit, frames, fairness, and what ends a stream."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from mpsd.core.outcome import DELIVERED, Rejected, Retryable, Withdrawn
from mpsd.ports import Peer
from tests.conformance.deliveries import assigned, deliveries, delivery
from tests.conformance.stream_stage import StreamStage, streams


@pytest.fixture
async def stage() -> AsyncIterator[StreamStage]:
    """Yield an adapter of default settings, with no stream yet."""
    async with streams() as made:
        yield made


# what is sent


async def test_a_record_carries_all_that_it_has(stage: StreamStage) -> None:
    client = await stage.client(records=1)
    given = delivery(headers=(("a", b"1"), ("a", None), ("b", b"")), attempts=4, timestamp=-1)
    given.replay = "r-1"
    stage.deliver(given)
    (record,) = await client.records(1)
    headers = [(each.name, each.value if each.HasField("value") else None) for each in record.headers]
    assert headers == [("a", b"1"), ("a", None), ("b", b"")]
    assert (record.attempt, record.timestamp_ms, record.replay, record.offset) == (5, -1, "r-1", 1842)
    assert (record.topic, record.partition, record.epoch, record.delivery_id) == ("orders", 3, 7, 1)


async def test_what_is_ready_goes_in_one_frame(stage: StreamStage) -> None:
    client = await stage.client(records=100)
    stage.deliver(*deliveries(60))
    stage.deliver(*deliveries(40))
    records = (await client.next("records")).records
    assert [record.delivery_id for record in records] == list(range(1, 101))


async def test_a_frame_is_bounded_and_a_larger_record_goes_alone() -> None:
    async with streams(frame_bytes_max=1_024) as stage:
        client = await stage.client(records=100)
        stage.deliver(
            *[delivery(offset=number, value=bytes(size)) for number, size in enumerate([400, 400, 400, 5_000, 1])]
        )
        frames = [[record.offset for record in (await client.next("records")).records] for _ in range(4)]
        assert frames == [[0, 1], [2], [3], [4]]


# credit


async def test_nothing_is_sent_beyond_the_credit(stage: StreamStage) -> None:
    client = await stage.client(records=3)
    assert stage.adapter.demand().records == 3
    stage.deliver(*deliveries(3))
    assert stage.adapter.demand() == (0, 0)
    ids = [record.delivery_id for record in await client.records(3)]
    await client.ack(*ids)
    await stage.settlements.all()
    assert stage.adapter.demand().records == 0, "what is settled is no credit"
    await client.grant(2)
    await stage.demanding(2)
    assert stage.adapter.demand().records == 2


async def test_bytes_are_limited_once_they_are_granted(stage: StreamStage) -> None:
    client = await stage.client(records=10, size=1_000)
    assert stage.adapter.demand() == (10, 1_000)
    given = [delivery(offset=number, key=b"", value=bytes(600)) for number in range(3)]
    stage.deliver(*given[:2])
    assert stage.adapter.demand().records == 0
    (first,) = await client.records(1)
    assert stage.statistic("unsent") == 1, "it is greater than what is left, and not alone"
    await client.ack(first.delivery_id)
    (second,) = await client.records(1)
    assert second.offset == 1
    await client.grant(0, 1_000)
    await stage.demanding(1)
    stage.deliver(given[2])
    (third,) = await client.records(1)
    assert third.offset == 2
    await client.ack(second.delivery_id, third.delivery_id)
    assert await stage.settlements.all() == [DELIVERED] * 3


async def test_records_here_and_bytes_there_wait_for_bytes(stage: StreamStage) -> None:
    narrow = await stage.client(records=10, size=10)
    wide = await stage.client(records=1)
    stage.deliver(*[delivery(offset=number, key=b"", value=bytes(100)) for number in range(11)])
    sent = [*await narrow.records(1), *await wide.records(1)]
    assert stage.statistic("unsent") == 9
    await narrow.ack(sent[0].delivery_id)
    await narrow.grant(0, 10_000)
    await narrow.records(9)


async def test_outstanding_credit_has_a_bound() -> None:
    async with streams(concurrency_max=1_000_000) as stage:
        client = await stage.client(records=1_000_000)
        await client.grant(1_000_000)
        await client.ack(1)
        await client.next("stale")
        assert stage.adapter.demand().records == 1_000_000


# fairness


async def test_a_hundred_streams_share_evenly(stage: StreamStage) -> None:
    """Each batch finds all credit free: how fast a client grants it again is no part of the choice."""
    clients = [await stage.client(records=10) for _ in range(100)]
    received = [0] * 100

    async def work(number: int) -> None:
        while True:
            try:
                records = (await clients[number].next("records")).records
                received[number] += len(records)
                await clients[number].ack(*[record.delivery_id for record in records])
                await clients[number].grant(len(records))
            except EOFError:
                return

    workers = [asyncio.create_task(work(number)) for number in range(100)]
    for _ in range(50):
        await stage.demanding(1_000)
        stage.deliver(*deliveries(40))
    await stage.settlements.all()
    assert sum(received) == 2_000
    assert min(received) >= 19
    assert max(received) <= 21
    await stage.adapter.close(0.0)
    await asyncio.gather(*workers)


async def test_the_stream_with_the_most_free_credit_is_next(stage: StreamStage) -> None:
    small, large = await stage.client(records=2), await stage.client(records=10)
    stage.deliver(*deliveries(8))
    assert len(await large.records(8)) == 8
    stage.deliver(*deliveries(4))
    assert len(await small.records(2)) == 2
    assert len(await large.records(2)) == 2


async def test_one_that_never_reads_does_not_hold_up_the_others() -> None:
    async with streams(lease_s=0.5) as stage:
        stuck = stage.dial()
        await stuck.open(records=50)
        await stage.demanding(50)
        large = [delivery(offset=number, value=bytes(500_000)) for number in range(20)]
        stage.deliver(*large)
        await stage.settlements.watch.until(lambda: stage.statistic("unsent") < 20)
        reader = await stage.client(records=30)
        for each in deliveries(30):
            stage.deliver(each)
        done = 0
        while done < 30 and stage.statistic("unsent") < 30:
            records = (await reader.next("records")).records
            await reader.ack(*[record.delivery_id for record in records])
            done += len(records)
            if stage.adapter.demand().records == 0:
                break
        outcomes = [await stage.settlements.of(each) for each in large]
        lost = [each for each in outcomes if isinstance(each, Retryable)]
        assert lost
        assert all((each.code, each.lost) == ("lease_expired", True) for each in lost)
        withdrawn = [each for each in outcomes if isinstance(each, Withdrawn)]
        assert len(lost) + len(withdrawn) == 20
        assert withdrawn, "what it was never sent costs nothing"
        assert stage.adapter.demand().records <= 30, "nothing more is given to it"


# verdicts and ends


async def test_verdicts(stage: StreamStage) -> None:
    client = await stage.client(records=3)
    given = deliveries(3)
    stage.deliver(*given)
    await client.records(3)
    await client.retry(1, 1_500, "later")
    await client.dead_letter(2, "never " + "é" * 1_000)
    await client.retry(3)
    await stage.settlements.all()
    later, never, again = [stage.outcome(each) for each in given]
    assert later == Retryable(code="verdict_retry", reason="asked to retry: later", retry_after_s=1.5)
    assert isinstance(never, Rejected)
    assert never.code == "verdict_dead_letter"
    assert len(never.reason.encode()) <= 1_024 + len("rejected: ")
    assert again == Retryable(code="verdict_retry", reason="asked to retry")


async def test_a_stream_that_is_lost_gives_back_all_in_order_at_once(stage: StreamStage) -> None:
    client = await stage.client(records=10, client="worker-1")
    given = deliveries(10)
    stage.deliver(*given)
    await client.records(10)
    await client.ack(4)
    await stage.settlements.of(given[3])
    await client.abort()
    await stage.settlements.all()
    assert list(stage.settlements.outcomes) == [given[3], *given[:3], *given[4:]]
    lost = stage.outcome(given[0])
    assert isinstance(lost, Retryable)
    assert (lost.code, lost.lost) == ("stream_lost", True)
    assert "worker-1" in lost.reason
    assert stage.adapter.demand().records == 0


async def test_a_clean_close_costs_nothing(stage: StreamStage) -> None:
    client = await stage.client(records=10)
    given = deliveries(3)
    stage.deliver(*given)
    await client.records(3)
    await client.ack(1)
    await client.half_close()
    await stage.settlements.all()
    assert stage.outcome(given[0]) is DELIVERED
    assert all(isinstance(stage.outcome(each), Withdrawn) for each in given[1:])
    assert await client.status() is grpc.StatusCode.OK
    assert stage.statistic("closed") == 1


async def test_records_that_waited_are_not_sent_by_one_that_may_not(stage: StreamStage) -> None:
    client = await stage.client(records=3)
    given = deliveries(3)
    stage.deliver(*given)
    stage.may_start = False
    await stage.settlements.all()
    assert all(isinstance(stage.outcome(each), Withdrawn) for each in given)
    stage.may_start = True
    assert stage.adapter.demand().records == 3
    stage.deliver(last := delivery())
    (record,) = await client.records(1)
    await client.ack(record.delivery_id)
    assert await stage.settlements.of(last) is DELIVERED


async def test_silence_is_broken_in_time() -> None:
    async with streams(keep_alive_s=1.0) as stage:
        client = await stage.client()
        await client.next("keep_alive")


async def test_peers_are_told_when_it_is_opened_and_at_each_change(stage: StreamStage) -> None:
    early = await stage.client()
    stage.adapter.on_peers([Peer("", "", "b:1"), Peer("a:0", "", "a:1"), Peer("", "", "")])
    assert list((await early.next("peers")).addresses) == ["a:1", "b:1"]
    late = await stage.client()
    assert list((await late.next("peers")).addresses) == ["a:1", "b:1"]
    stage.adapter.on_peers([Peer("", "", "a:1")])
    for client in (early, late):
        assert list((await client.next("peers")).addresses) == ["a:1"]


async def test_clients_are_not_told_loopback_addresses_of_another_host() -> None:
    async with streams(network="a") as stage:
        near, far = (Peer("", "", f"127.0.0.1:{port}", name, name, name) for port, name in ((1, "a"), (2, "b")))
        stage.adapter.on_peers([near, far, Peer("", "", "10.0.0.2:1", "c", "c", "c")])
        client = await stage.client()
        assert list((await client.next("peers")).addresses) == ["10.0.0.2:1", "127.0.0.1:1"]


async def test_closing_ends_every_stream_and_takes_no_more(stage: StreamStage) -> None:
    clients = [await stage.client(records=1) for _ in range(3)]
    await stage.adapter.close(5.0)
    for client in clients:
        assert (await client.next("drain")).reason
        assert await client.status() is grpc.StatusCode.UNAVAILABLE
    late = await stage.dial().open()
    assert await late.status() is grpc.StatusCode.UNAVAILABLE


async def test_sessions_are_listed(stage: StreamStage) -> None:
    await stage.client(records=5, client="worker\n1")
    stage.deliver(*deliveries(2, assigned(1)))
    (listed,) = stage.adapter.sessions()
    assert (listed.session, listed.client, listed.unsettled, listed.credit) == (stage.session, "worker?1", 2, 3)
    assert listed.peer.startswith("ipv4:127.0.0.1:")
    assert listed.age_s >= 0


@pytest.mark.parametrize("count", [1, 2, 50])
async def test_an_id_names_one_attempt(stage: StreamStage, count: int) -> None:
    client = await stage.client(records=2 * count)
    first, second = deliveries(count), deliveries(count)
    stage.deliver(*first)
    ids = [record.delivery_id for record in await client.records(count)]
    stage.deliver(*second)
    ids += [record.delivery_id for record in await client.records(count)]
    assert len(set(ids)) == 2 * count
    await client.ack(*ids[:count], *ids[:count])
    assert sorted((await client.next("stale")).delivery_ids) == ids[:count]
    assert not any(each in stage.settlements.outcomes for each in second)
    assert stage.statistic("stale_acks") == count
