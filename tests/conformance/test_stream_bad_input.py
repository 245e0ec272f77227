"""Clients that break the contract: each is told what was wrong, and nobody else notices."""

import asyncio
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from mps.delivery.v1 import delivery_pb2 as v1
from mpsd.core.outcome import DELIVERED, Retryable
from mpsd.listeners.grpc_errors import DETAILS_KEY
from mpsd.listeners.tokens import load_tokens
from tests.conformance.deliveries import deliveries, delivery
from tests.conformance.stream_client import METHOD, StreamClient
from tests.conformance.stream_stage import StreamStage, streams
from tests.conformance.watch import PATIENCE_S

MILLION = 1_000_000


def opening(**fields: object) -> v1.SubscribeRequest:
    return v1.SubscribeRequest(open=v1.Open(**fields))  # type: ignore[arg-type]


async def refused(client: StreamClient) -> tuple[grpc.StatusCode, str, str]:
    """Return the code, the reason for programs, and the field named."""
    code = await client.status()
    status = Status.FromString((await client.trailing())[DETAILS_KEY])
    assert (status.code, status.message) == (code.value[0], await client.details())
    info, request = ErrorInfo(), BadRequest()
    assert status.details[0].Unpack(info)
    assert info.domain == "kafka-mps"
    for packed in status.details[1:]:
        assert packed.Unpack(request)
    return code, info.reason, ", ".join(violation.field for violation in request.field_violations)


async def serves(stage: StreamStage, bystander: StreamClient) -> None:
    """One who does nothing wrong goes on."""
    await bystander.grant(1)
    await stage.demanding(1)
    stage.deliver(given := delivery())
    (record,) = await bystander.records(1)
    await bystander.ack(record.delivery_id)
    assert await stage.settlements.of(given) is DELIVERED


@pytest.mark.parametrize(
    ("first", "field"),
    [
        (b"\xff\xff\xff", "frame"),
        (b"GET / HTTP/1.1\r\n", "frame"),
        (b"", "frame"),
        (v1.SubscribeRequest(credit=v1.Credit(records=1)), "credit"),
        (v1.SubscribeRequest(settle=v1.Settle(acks=[1])), "settle"),
        (opening(), "open.subscription"),
        (opening(subscription="x" * 129), "open.subscription"),
        (opening(subscription="billing", client="x" * 257), "open.client"),
        (opening(subscription="billing", credit=v1.Credit(records=MILLION + 1)), "open.credit.records"),
        (opening(subscription="billing", credit=v1.Credit(bytes=(1 << 32) + 1)), "open.credit.bytes"),
        (b"\x0a\x02\x0a\xc3", "frame"),
    ],
)
async def test_a_bad_first_frame_is_named(first: v1.SubscribeRequest | bytes, field: str) -> None:
    async with streams() as stage:
        bystander = await stage.client()
        client = stage.dial()
        await client.send(first)
        assert await refused(client) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_FRAME", field)
        await serves(stage, bystander)


MINUS_ONE = b"\xff" * 9 + b"\x01"
"""A negative number as protobuf writes it."""


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (b"\xff\xff\xff", "frame"),
        (b"\x1a\x7f", "frame"),
        (opening(subscription="billing"), "open"),
        (v1.SubscribeRequest(credit=v1.Credit(records=MILLION + 1)), "credit.records"),
        (v1.SubscribeRequest(credit=v1.Credit(bytes=(1 << 64) - 1)), "credit.bytes"),
        (b"\x12\x0b\x08" + MINUS_ONE, "credit.records"),
        (b"\x12\x0b\x10" + MINUS_ONE, "credit.bytes"),
        (
            v1.SubscribeRequest(settle=v1.Settle(acks=[1], retries=[v1.Retry(delay_ms=86_400_001)])),
            "settle.retries[0].delay_ms",
        ),
        (v1.SubscribeRequest(extend=v1.Extend(delivery_ids=[1], lease_ms=3_600_001)), "extend.lease_ms"),
    ],
)
async def test_a_bad_frame_ends_the_stream_and_no_other(frame: v1.SubscribeRequest | bytes, field: str) -> None:
    async with streams() as stage:
        bystander = await stage.client()
        client = await stage.client(records=1)
        stage.deliver(given := delivery())
        await client.records(1)
        await client.send(frame)
        assert await refused(client) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_FRAME", field)
        outcome = await stage.settlements.of(given)
        assert isinstance(outcome, Retryable), "a frame is taken whole or not at all"
        assert (outcome.code, outcome.lost) == ("bad_frame", True)
        await serves(stage, bystander)


async def test_subscriptions_that_there_are_not() -> None:
    async with streams() as stage:
        nobody = await stage.dial().open("nobody")
        assert await refused(nobody) == (grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_UNKNOWN", "")
        pushed = await stage.dial().open("pushed")
        assert await refused(pushed) == (grpc.StatusCode.FAILED_PRECONDITION, "SUBSCRIPTION_NOT_STREAMED", "")


async def test_too_many_streams() -> None:
    async with streams(streams_max=2) as stage:
        first, _ = [await stage.client() for _ in range(2)]
        third = stage.dial()  # gRPC's client forgets why a call has ended if it is still to write to it
        assert await refused(third) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STREAMS_MAX", "")
        await first.half_close()
        assert await first.status() is grpc.StatusCode.OK
        await _until(lambda: stage.servicer.calls < 2)
        await stage.client()


async def test_only_those_with_a_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(
        '[[tokens]]\nname = "app"\nrole = "consumer"\nsubscriptions = ["billing"]\ntoken = "0123456789abcdef"\n'
        '[[tokens]]\nname = "prometheus"\nrole = "viewer"\ntoken = "viewer-0123456789"\n'
        '[[tokens]]\nname = "mailer"\nrole = "consumer"\nsubscriptions = ["mail"]\ntoken = "mailer-0123456789"\n'
    )
    async with streams(tokens=load_tokens("stream", str(file), ("billing", "mail"))) as stage:
        for name in ("viewer", "mailer"):
            other = await stage.dial(("authorization", f"Bearer {name}-0123456789")).open()
            assert await refused(other) == (grpc.StatusCode.PERMISSION_DENIED, "SUBSCRIPTION_DENIED", "")
        for metadata in ((), (("authorization", "Bearer 0123456789abcdee"),)):
            stranger = stage.dial(*metadata)
            assert await refused(stranger) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_UNKNOWN", "")
        known = await stage.dial(("authorization", "Bearer 0123456789abcdef")).open()
        await known.next("opened")


async def test_ids_that_are_unknown_or_of_another_stream_change_nothing() -> None:
    async with streams() as stage:
        mine = await stage.client(records=1)
        stage.deliver(given := delivery())
        (record,) = await mine.records(1)
        thief = await stage.client()
        foreign = [record.delivery_id, 0, 77, (1 << 64) - 1]
        await thief.ack(*foreign)
        assert list((await thief.next("stale")).delivery_ids) == foreign
        await thief.retry(record.delivery_id)
        await thief.dead_letter(record.delivery_id)
        await thief.extend(*foreign)
        told: list[int] = []
        while len(told) < 6:  # a frame has all that is stale by then
            told += (await thief.next("stale")).delivery_ids
        assert told == [record.delivery_id, record.delivery_id, *foreign]
        kinds = ("acks", "retries", "dead_letters", "extends")
        assert [stage.statistic(f"stale_{kind}") for kind in kinds] == [4, 1, 1, 4]
        assert not stage.settlements.outcomes
        await mine.ack(record.delivery_id)
        assert await stage.settlements.of(given) is DELIVERED


async def test_an_id_that_is_guessed_before_it_was_sent_settles_nothing() -> None:
    async with streams() as stage:
        client = await stage.client(records=2, size=1)
        stage.deliver(delivery(value=bytes(100)))
        stage.adapter.demand()
        await client.records(1)
        await client.ack(2)
        assert list((await client.next("stale")).delivery_ids) == [2]


async def test_ids_by_the_million_from_one_that_never_reads_are_not_kept() -> None:
    async with streams() as stage:
        bystander = await stage.client()
        client = stage.dial()
        await client.open()
        tracemalloc.start()
        try:
            for begin in range(1, 21):
                await client.ack(*range(begin * 100_000, begin * 100_000 + 100_000))
            await serves(stage, bystander)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 8_000_000


async def test_a_connection_cut_in_the_middle_of_a_frame_is_a_lost_stream() -> None:
    """A frame of HTTP/2 that says it has 16 KiB and then ends, on a connection that carries a stream."""
    async with streams() as stage:
        bystander = await stage.client()
        relay, connections = await _relay(stage.address)
        async with relay:
            port = relay.sockets[0].getsockname()[1]
            client = StreamClient(f"127.0.0.1:{port}")
            await client.open(records=1)
            await stage.demanding(1)
            stage.deliver(given := delivery())
            await client.records(1)
            (upstream,) = connections
            upstream.write(b"\x00\x40\x00\x00\x00\x00\x00\x00\x01half a frame")
            await upstream.drain()
            upstream.transport.abort()
            outcome = await stage.settlements.of(given)
            assert isinstance(outcome, Retryable)
            assert (outcome.code, outcome.lost) == ("stream_lost", True)
            await client.abort()
        await serves(stage, bystander)


async def _until(condition: Callable[[], bool]) -> None:
    """For what nobody tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def _relay(address: str) -> tuple[asyncio.Server, list[asyncio.StreamWriter]]:
    host, _, port = address.rpartition(":")
    upstreams: list[asyncio.StreamWriter] = []

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(host, int(port))
        upstreams.append(to_server)
        await asyncio.gather(pump(reader, to_server), pump(from_server, writer))

    return await asyncio.start_server(accept, "127.0.0.1", 0), upstreams


async def test_ten_thousand_opens_in_a_row_leave_nothing_behind() -> None:
    async with streams() as stage:
        bystander = await stage.client()
        async with aio.insecure_channel(stage.address) as channel:
            first = opening(subscription="billing", client="x" * 200, credit=v1.Credit(records=5)).SerializeToString()

            async def opens(count: int) -> None:
                for number in range(count):
                    call: Any = channel.stream_stream(METHOD)()
                    await call.write(first)
                    await call.read()
                    if number % 2:
                        call.cancel()
                        continue
                    await call.done_writing()
                    while await call.read() is not aio.EOF:
                        pass

            await asyncio.gather(*(opens(125) for _ in range(20)))
            process = psutil.Process()
            before = process.memory_info().rss
            await asyncio.gather(*(opens(375) for _ in range(20)))
            grown = process.memory_info().rss - before
        assert stage.statistic("opened") == 10_001
        assert grown < 16_000_000, "client and server together"
        await serves(stage, bystander)
        await _until(lambda: stage.statistic("sessions") == 1 and stage.servicer.calls == 1)
        assert stage.adapter.demand().records == 0


async def test_a_call_without_a_first_frame_is_ended() -> None:
    async with streams(open_within_s=0.05) as stage:
        silent = stage.dial()
        assert await refused(silent) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_FRAME", "open")


async def test_what_a_stuck_stream_holds_is_bounded_by_its_credit() -> None:
    async with streams(lease_s=30.0) as stage:
        client = stage.dial()
        await client.open(records=40)
        await stage.demanding(40)
        stage.deliver(*[delivery(offset=each.record.offset, value=bytes(100_000)) for each in deliveries(40)])
        assert stage.adapter.demand().records == 0
        bystander = await stage.client()
        await serves(stage, bystander)
        assert stage.statistic("in_flight") == 40
        assert stage.adapter.demand().records == 0
