"""One client and daemons that do as they are told."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mps.delivery.v1 import delivery_pb2 as pb
from mps_client import DeadLetter, Record, Retry, Subscription, SubscriptionRefused
from tests.clients.scripted_daemon import ScriptedDaemon, given, many, scripted_daemon
from tests.integration.world.patience import until


@pytest.fixture
async def daemon() -> AsyncIterator[ScriptedDaemon]:
    async with scripted_daemon() as daemon:
        yield daemon


def subscription(daemon: ScriptedDaemon, **options: Any) -> Subscription:
    return Subscription("billing", daemon.address, **options)


async def accept(record: Record) -> None:
    """Done."""


async def test_a_loop_settles_by_how_each_block_ends(daemon: ScriptedDaemon) -> None:
    async with subscription(daemon, client="me", credit=10, credit_bytes=1_000) as records:
        stream = await daemon.accepted()
        assert (stream.open.subscription, stream.open.client) == ("billing", "me")
        assert (stream.credit, stream.credit_bytes) == (10, 1_000)
        stream.records(*many(1, 4))
        async for record in records:
            async with record:
                match record.offset:
                    case 2:
                        raise Retry("later", after_s=1.5)
                    case 3:
                        raise DeadLetter("never")
                    case 4:
                        raise KeyError("what")
                    case _:
                        pass
            if record.offset == 4:
                break
    assert stream.half_closed.is_set()
    assert stream.settled == {
        1: "ack",
        2: pb.Retry(delivery_id=2, delay_ms=1_500, reason="later"),
        3: pb.DeadLetter(delivery_id=3, reason="never"),
        4: pb.Retry(delivery_id=4, reason="KeyError: 'what'"),
    }
    assert len(daemon.streams) == 1


async def test_a_record_arrives_with_all_that_it_has(daemon: ScriptedDaemon) -> None:
    async with subscription(daemon) as records:
        stream = await daemon.accepted()
        headers = [pb.Header(name="a", value=b"1"), pb.Header(name="ü", value=b"\xff"), pb.Header(name="a")]
        stream.records(
            pb.Record(
                delivery_id=7,
                topic="t",
                partition=3,
                offset=4,
                timestamp_ms=-1,
                attempt=2,
                epoch=5,
                replay="r",
                idempotency_key="k#r",
            ),
            given(8, b"", b"", headers=headers, timestamp_ms=1_000, content_type="text/css"),
        )
        bare, full = await anext(records), await anext(records)
        assert (bare.content_type, full.content_type) == ("application/octet-stream", "text/css")
        assert (bare.key, bare.value, bare.is_tombstone, bare.headers, bare.timestamp_ms) == (
            None,
            None,
            True,
            (),
            None,
        )
        assert (bare.topic, bare.partition, bare.offset, bare.attempt, bare.epoch, bare.replay) == (
            "t",
            3,
            4,
            2,
            5,
            "r",
        )
        assert bare.idempotency_key == "k#r"
        assert (full.key, full.value, full.is_tombstone) == (b"", b"", False)
        assert full.headers == (("a", b"1"), ("ü", b"\xff"), ("a", None))
        assert full.header("ü") == b"\xff"
        assert full.header("b") is None
        assert full.timestamp is not None
        assert full.timestamp.isoformat() == "1970-01-01T00:00:01+00:00"
        bare.ack()
        bare.dead_letter("too late")
        full.retry(after_s=1)
    assert stream.settled == {7: "ack", 8: pb.Retry(delivery_id=8, delay_ms=1_000)}


async def test_workers_run_at_once_and_credit_comes_back_in_batches(daemon: ScriptedDaemon) -> None:
    running = most = 0

    async def handler(record: Record) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    records = subscription(daemon, concurrency=8, credit=100)
    task = asyncio.create_task(records.run(handler, signals=()))
    stream = await daemon.accepted()
    for first in range(1, 2_000, 100):

        def has_credit(first: int = first) -> bool:
            return stream.credit - first >= 99

        await until(has_credit, "there is credit for a frame")
        stream.records(*many(first, 100))
    await until(lambda: len(stream.settled) == 2_000, "all are settled")
    assert most == 8
    assert stream.credit_bytes - (64 << 20) <= sum(len(f"k{number}v") for number in range(1, 2_001))
    assert stream.settle_frames < 1_000
    assert records.statistics().acked == 2_000
    records.stop()
    await task
    assert stream.half_closed.is_set()


async def test_a_handler_that_never_waits_lets_the_loop_live(daemon: ScriptedDaemon) -> None:
    records = subscription(daemon, concurrency=4, credit=10_000)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    before: list[int] = []

    async def handler(record: Record) -> None:
        before.append(turns)

    counting = asyncio.create_task(count_turns())
    task = asyncio.create_task(records.run(handler, signals=()))
    stream = await daemon.accepted()
    stream.records(*many(1, 5_000))
    await until(lambda: len(stream.settled) == 5_000, "all are settled")
    records.stop()
    await task
    counting.cancel()
    assert before[-1] - before[0] >= 5_000 // 64


async def test_sync_handlers_run_in_threads(daemon: ScriptedDaemon) -> None:
    names = set()
    both = threading.Barrier(2, timeout=20)

    def handler(record: Record) -> None:
        names.add(threading.current_thread().name)
        both.wait()
        if record.offset == 2:
            raise DeadLetter("no")

    records = subscription(daemon, concurrency=2)
    task = asyncio.create_task(records.run(handler, signals=()))
    stream = await daemon.accepted()
    stream.records(*many(1, 2))
    await until(lambda: len(stream.settled) == 2, "both are settled")
    records.stop()
    await task
    assert threading.current_thread().name not in names
    assert stream.settled == {1: "ack", 2: pb.DeadLetter(delivery_id=2, reason="no")}


async def test_leases_of_queued_and_running_records_are_extended() -> None:
    async with (
        scripted_daemon(on_open=lambda stream: stream.opened(lease_ms=150)) as daemon,
        subscription(daemon) as records,
    ):
        stream = await daemon.accepted()
        stream.records(*many(1, 3))
        first = await anext(records)
        await until(lambda: stream.extended.count(3) >= 2, "leases are extended")
        assert set(stream.extended) == {1, 2, 3}
        first.ack()
        await until(lambda: 1 in stream.settled, "it is settled")
        stream.extended.clear()
        await until(lambda: stream.extended.count(3) >= 2, "leases are extended")
        assert set(stream.extended) == {2, 3}


async def test_sigterm_gives_back_the_queue_and_settles_what_runs(daemon: ScriptedDaemon) -> None:
    let_go = asyncio.Event()
    started: list[int] = []

    async def handler(record: Record) -> None:
        started.append(record.offset)
        await let_go.wait()

    records = subscription(daemon, concurrency=3)
    task = asyncio.create_task(records.run(handler))
    stream = await daemon.accepted()
    stream.records(*many(1, 5))
    await until(lambda: records.statistics().queued == 2, "three run and two wait")
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: records.statistics().queued == 0, "it stops")
    stream.records(*many(6, 1))  # was on its way
    stream.stale(3)
    await until(lambda: records.statistics().running == 2, "it has seen the frame behind that record")
    assert not task.done()
    let_go.set()
    await task
    assert started == [1, 2, 3]
    assert stream.settled == {1: "ack", 2: "ack"}
    assert stream.half_closed.is_set()


async def test_what_does_not_end_in_time_is_cancelled_and_given_back(daemon: ScriptedDaemon) -> None:
    ended = []

    async def handler(record: Record) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(record.offset)

    records = subscription(daemon, drain_timeout_s=0.1)
    task = asyncio.create_task(records.run(handler, signals=()))
    stream = await daemon.accepted()
    stream.records(*many(1, 1))
    await until(lambda: records.statistics().running == 1, "it runs")
    records.stop()
    await task
    assert ended == [1]
    assert stream.settled == {}
    assert stream.half_closed.is_set()


async def test_a_record_that_nobody_settles_is_given_back_in_time(daemon: ScriptedDaemon) -> None:
    async with subscription(daemon, drain_timeout_s=0.1) as records:
        stream = await daemon.accepted()
        stream.records(*many(1, 1))
        await anext(records)
    assert stream.settled == {}
    assert stream.half_closed.is_set()


async def test_a_cancelled_leaving_leaves_nothing_behind(daemon: ScriptedDaemon) -> None:
    has_it = asyncio.Event()

    async def hold() -> None:
        async with subscription(daemon) as records:
            await anext(records)
            has_it.set()

    task = asyncio.create_task(hold())
    stream = await daemon.accepted()
    stream.records(*many(1, 1))
    await has_it.wait()  # and now it leaves, which takes as long as it holds the record
    task.cancel()
    await asyncio.wait([task], timeout=20)
    assert task.cancelled()
    await stream.over.wait()


async def test_leaving_by_an_exception_does_not_wait(daemon: ScriptedDaemon) -> None:
    async def fail() -> None:
        async with subscription(daemon) as records:
            stream = await daemon.accepted()
            stream.records(*many(1, 2))
            (await anext(records)).ack()
            await anext(records)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    (stream,) = daemon.streams
    await stream.half_closed.wait()
    assert stream.settled == {1: "ack"}


async def test_a_cancelled_block_says_nothing_and_the_lease_is_left_to_end() -> None:
    async with scripted_daemon(on_open=lambda stream: stream.opened(lease_ms=100)) as daemon:
        async with subscription(daemon, credit=2) as records:
            stream = await daemon.accepted()
            stream.records(*many(1, 1))

            async def work() -> None:
                async with await anext(records):
                    await asyncio.Event().wait()

            task = asyncio.create_task(work())
            await until(lambda: stream.extended, "its lease is extended")
            task.cancel()
            await until(lambda: stream.credit == 3, "its credit is given back")
            assert records.statistics().running == 0
        assert stream.settled == {}


async def test_a_lost_stream_is_dialled_again_and_its_queue_dropped(daemon: ScriptedDaemon) -> None:
    async with subscription(daemon) as records:
        first = await daemon.accepted()
        first.records(given(1, b"a"), given(2, b"b"))
        running = await anext(records)
        await until(lambda: records.statistics().queued == 1, "one waits")
        first.end(grpc.StatusCode.UNAVAILABLE)
        second = await daemon.accepted()
        # the daemon delivers both again: that of the running handler's key has to wait
        second.records(given(1, b"a", attempt=1), given(2, b"b"))
        again = await anext(records)
        assert again.key == b"b"
        again.ack()
        await until(lambda: 2 in second.settled, "it is settled")
        assert records.statistics().queued == 1
        running.ack()
        (await anext(records)).ack()
        await until(lambda: second.settled == {1: "ack", 2: "ack"}, "the other is settled as well")
        seen = records.statistics()
        assert (seen.unreported, seen.withdrawn, seen.daemons[0].connects) == (1, 1, 2)
        assert seen.daemons[0].last_error == "a test ends it"
    assert not first.settled


async def test_stale_deliveries_are_dropped_and_hold_their_key_back(daemon: ScriptedDaemon) -> None:
    async with subscription(daemon, credit=4) as records:
        stream = await daemon.accepted()
        stream.records(given(1, b"a"), given(2, b"b"))
        running = await anext(records)
        await until(lambda: records.statistics().queued == 1, "one waits")
        stream.stale(1, 2, 99)
        await until(lambda: stream.credit == 6, "their credit is given back")
        assert records.statistics().queued == 0
        stream.records(given(3, b"a", offset=1))
        await until(lambda: records.statistics().queued == 1, "it waits for the one before")
        running.ack()
        (await anext(records)).ack()
    assert stream.settled == {3: "ack"}


async def test_a_drain_is_worked_off_then_closed(daemon: ScriptedDaemon) -> None:
    async with subscription(daemon) as records:
        stream = await daemon.accepted()
        stream.records(*many(1, 3))
        stream.drain()
        for _ in range(3):
            (await anext(records)).ack()
        await stream.half_closed.wait()
        assert list(stream.settled) == [1, 2, 3]
        assert await daemon.accepted() is not stream


async def test_peers_are_followed(daemon: ScriptedDaemon) -> None:
    async with scripted_daemon() as second, scripted_daemon() as third, subscription(daemon) as records:
        at_first = await daemon.accepted()
        at_first.peers(daemon.address, second.address)
        at_second = await second.accepted()
        at_second.records(*many(1, 1))
        (await anext(records)).ack()
        at_first.peers(daemon.address, second.address, third.address)
        at_third = await third.accepted()
        for stream in (at_first, at_second, at_third):
            stream.peers(daemon.address, third.address)
        await at_second.half_closed.wait()
        assert at_second.settled == {1: "ack"}
        assert not at_first.half_closed.is_set()
        await until(lambda: len(records.statistics().daemons) == 2, "one has left")
        assert len(daemon.streams) == len(second.streams) == len(third.streams) == 1


async def test_another_name_of_a_daemon_is_left_for_the_advertised_one(daemon: ScriptedDaemon) -> None:
    async with Subscription("billing", f"localhost:{daemon.port}") as records:
        bootstrap = await daemon.accepted()
        bootstrap.peers(daemon.address)
        advertised = await daemon.accepted()
        advertised.peers(daemon.address)
        await bootstrap.half_closed.wait()
        await until(lambda: len(records.statistics().daemons) == 1, "one stream is left")
        assert not advertised.half_closed.is_set()


async def test_an_advertised_address_that_cannot_be_reached_costs_nothing(daemon: ScriptedDaemon) -> None:
    async with subscription(daemon) as records:
        stream = await daemon.accepted()
        stream.peers("127.0.0.1:1")
        await until(lambda: any(each.failures for each in records.statistics().daemons), "it was tried")
        stream.records(*many(1, 1))
        (await anext(records)).ack()
        await until(lambda: stream.settled, "the stream goes on")


async def test_the_second_of_several_addresses_is_enough(daemon: ScriptedDaemon) -> None:
    async with Subscription("billing", ["127.0.0.1:1", daemon.address]) as records:
        (await daemon.accepted()).records(*many(1, 1))
        (await anext(records)).ack()


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED])
async def test_a_refusal_by_all_is_an_error(code: grpc.StatusCode) -> None:
    async with scripted_daemon(code) as one, scripted_daemon(code) as two:
        addresses = [one.address, two.address]
        with pytest.raises(SubscriptionRefused, match="a test refuses") as caught:
            await Subscription("billing", addresses).run(accept, signals=())
        assert caught.value.code == code.name
        with pytest.raises(SubscriptionRefused):
            async with Subscription("billing", addresses) as records:
                await anext(records)


async def test_a_refusal_after_a_stream_was_open_is_waited_out(daemon: ScriptedDaemon) -> None:
    async with subscription(daemon) as records:
        first = await daemon.accepted()
        first.peers(daemon.address)
        daemon.refusal = grpc.StatusCode.NOT_FOUND
        first.end(grpc.StatusCode.UNAVAILABLE)
        await daemon.accepted()
        daemon.refusal = None
        stream = await daemon.accepted()
        stream.records(*many(1, 1))
        (await anext(records)).ack()


async def test_a_silent_daemon_is_given_up() -> None:
    async with (
        scripted_daemon(on_open=lambda stream: stream.opened(keep_alive_ms=50)) as daemon,
        subscription(daemon) as records,
    ):
        await daemon.accepted()
        await daemon.accepted()
        assert "silent" in records.statistics().daemons[0].last_error


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pb.SubscribeResponse(records=pb.Records(records=many(1, 11))), "beyond the credit"),
        (pb.SubscribeResponse(records=pb.Records(records=[given(0)])), "has the id 0"),
        (pb.SubscribeResponse(records=pb.Records(records=[given(1), given(1)])), "has the id 1"),
        (pb.SubscribeResponse(opened=pb.Opened(lease_ms=1, keep_alive_ms=1)), "opened again"),
    ],
)
async def test_nonsense_ends_the_stream_and_not_the_client(
    daemon: ScriptedDaemon, frame: pb.SubscribeResponse, words: str
) -> None:
    async with subscription(daemon, credit=10) as records:
        (await daemon.accepted()).send(frame)
        stream = await daemon.accepted()
        assert words in records.statistics().daemons[0].last_error
        assert records.statistics().queued == 0
        stream.send(pb.SubscribeResponse())  # of a later version
        stream.records(*many(1, 1))
        (await anext(records)).ack()
        await until(lambda: stream.settled, "the next stream works")


async def test_a_token_goes_with_every_stream(daemon: ScriptedDaemon) -> None:
    tokens = iter(["first", "second"])
    async with subscription(daemon, token=lambda: next(tokens)):
        stream = await daemon.accepted()
        assert stream.metadata["authorization"] == "Bearer first"
        stream.end(grpc.StatusCode.UNAVAILABLE)
        assert (await daemon.accepted()).metadata["authorization"] == "Bearer second"


async def test_a_token_that_cannot_be_had_is_asked_for_again(daemon: ScriptedDaemon) -> None:
    tokens = iter(["good"])

    def token() -> str:
        if not daemon.streams and not failures:
            failures.append(1)
            raise OSError("no file")
        return next(tokens)

    failures: list[int] = []
    async with subscription(daemon, token=token) as records:
        assert (await daemon.accepted()).metadata["authorization"] == "Bearer good"
        assert "no file" in records.statistics().daemons[0].last_error


async def test_tls() -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    server = grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])
    client = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    async with scripted_daemon(credentials=server) as daemon, subscription(daemon, tls=client) as records:
        (await daemon.accepted()).records(*many(1, 1))
        (await anext(records)).ack()


@pytest.mark.parametrize(
    "wrong",
    [{"concurrency": 0}, {"credit": 0}, {"credit": 1_000_001}, {"credit_bytes": -1}, {"drain_timeout_s": -1.0}],
)
def test_arguments_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        Subscription("billing", "127.0.0.1:7072", **wrong)
    with pytest.raises(ValueError, match="subscription"):
        Subscription("", "127.0.0.1:7072")
    with pytest.raises(ValueError, match="addresses"):
        Subscription("billing", [])
