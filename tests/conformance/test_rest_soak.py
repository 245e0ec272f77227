"""A server that misbehaves in every way at random, and one that never stops talking."""

import asyncio
import random
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from mpsd.core.outcome import DELIVERED, Retryable, Unavailable
from tests.conformance.deliveries import assigned, deliveries, delivery
from tests.conformance.http_server import Peer
from tests.conformance.rest_stage import RestStage, rest

Conduct = Callable[[Peer], Awaitable[bool]]
"""A function that answers one request; False ends the connection."""


async def accept(peer: Peer) -> bool:
    await peer.answer(200, body=b"ok")
    return True


async def accept_in_pieces(peer: Peer) -> bool:
    for piece in (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2",
        b"00 OK\r\nTransfer-Enco",
        b"ding: chunked\r\n\r\n0\r\n\r\n",
    ):
        await peer.send(piece)
        await asyncio.sleep(0)
    return True


async def accept_and_close(peer: Peer) -> bool:
    await peer.answer(200, "Connection: close")
    return False


async def accept_and_end(peer: Peer) -> bool:
    await peer.answer(200)
    return False


async def accept_and_say_too_much(peer: Peer) -> bool:
    await peer.answer(200, body=b"ok")
    await peer.send(b"HTTP/1.1 500 Oops\r\n\r\n")
    return True


async def refuse(peer: Peer) -> bool:
    await peer.answer(503, "Retry-After: 1")
    return True


async def end(peer: Peer) -> bool:
    return False


async def reset(peer: Peer) -> bool:
    peer.reset()
    return False


async def stop_half_way(peer: Peer) -> bool:
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
    return False


async def hang(peer: Peer) -> bool:
    await peer.gone()
    return False


async def babble(peer: Peer) -> bool:
    await peer.send(bytes(range(256)) * 10)
    return True


KIND: list[Conduct] = [accept, accept_in_pieces, accept_and_close, accept_and_end, accept_and_say_too_much]
UNKIND: list[Conduct] = [refuse, end, reset, stop_half_way, hang, babble]


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_each_delivery_is_settled_once(seed: int) -> None:
    chance = random.Random(seed)
    accepted: set[int] = set()

    async def script(peer: Peer) -> None:
        goes_on = True
        while goes_on:
            request = await peer.request()
            conduct = chance.choices([*KIND, *UNKIND], weights=[20, 5, 2, 2, 2, 2, 1, 1, 1, 0.2, 1])[0]
            if conduct in KIND:
                accepted.add(int(request.header("mps-offset") or -1))
            goes_on = await conduct(peer)

    async with rest(script, timeout_s=0.2, concurrency_max=16) as stage:
        leaving = assigned(9)
        left = [*deliveries(1500), *(delivery(leaving, offset=9_000 + number) for number in range(100))]
        chance.shuffle(left)
        given = list(left)
        revoking: asyncio.Task[None] | None = None
        while left:
            room = min(chance.randint(1, 16), stage.adapter.demand().records, len(left))
            stage.deliver(*[left.pop() for _ in range(room)])
            if len(left) < 800 and revoking is None:
                left = [each for each in left if each.assignment is not leaving]
                revoking = asyncio.ensure_future(stage.adapter.revoke(leaving, 0.01))
            await stage.settlements.watch.until(lambda: stage.adapter.demand().records > 0)
            assert stage.statistic("open") + stage.statistic("connecting") <= 16
            assert stage.statistic("in_flight") <= 16
        outcomes = await stage.settlements.all()
        assert revoking is not None
        await revoking
        assert outcomes.count(DELIVERED) > 1000
        assert len({type(outcome) for outcome in outcomes}) >= 3
        for each in given:
            if stage.settlements.outcomes.get(each) is DELIVERED:
                assert each.record.offset in accepted


async def _garbage(stage: RestStage, count: int) -> None:
    for each in deliveries(count):
        outcome = await stage.outcome(each)
        assert outcome is DELIVERED or isinstance(outcome, Retryable | Unavailable)
        stage.settlements.outcomes.clear()


@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 OK\r\nA: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ",
        b"",
    ],
)
async def test_memory_stays_flat_whatever_is_poured_in(beginning: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(beginning)
        while True:
            await peer.send(b"x" * 65_536)

    async with rest(script) as stage:
        await _garbage(stage, 20)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await _garbage(stage, 40)
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 1_000_000
        assert peak - before < 8_000_000


async def test_answers_that_differ_each_time_are_not_kept() -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.answer(200, f"X-Request-Id: {request.header('mps-offset')}")

    async with rest(script) as stage:
        for each in deliveries(600):
            assert await stage.outcome(each) is DELIVERED
        assert 0 < stage.statistic("known_answers") <= 256
