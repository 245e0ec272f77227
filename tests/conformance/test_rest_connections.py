"""Opening, reuse and closing of connections, and the effect on the deliveries in flight."""

import asyncio
import socket
from collections.abc import Sequence

import pytest

from mpsd.core.outcome import DELIVERED, Rejected, Retryable, Unavailable, Undeliverable, Withdrawn
from tests.conformance.deliveries import assigned, deliveries, delivery
from tests.conformance.http_server import Peer
from tests.conformance.rest_stage import rest


async def accepting(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.answer(200)


async def hanging(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def answering_once(peer: Peer) -> None:
    """Answer once, and close the connection just when it is used again."""
    await peer.request()
    await peer.answer(200)
    await peer.request()


async def test_connections_are_opened_when_needed_and_then_kept() -> None:
    async with rest(accepting) as stage:
        assert stage.statistic("open") == 0
        for each in deliveries(5):
            assert await stage.outcome(each) is DELIVERED
        assert stage.server.connections == 1
        stage.deliver(*deliveries(8))
        await stage.settlements.all()
        assert stage.server.connections <= 8
        assert stage.statistic("requests") == 13


async def test_a_reused_connection_that_was_closed_costs_nothing() -> None:
    async with rest(answering_once) as stage:
        for each in deliveries(4):
            assert await stage.outcome(each) is DELIVERED
        assert stage.statistic("reused_retries") == 3
        assert stage.server.connections == 4


async def test_it_is_retried_once_only() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.answer(200)
            await peer.request()
        peer.reset()

    async with rest(script) as stage:
        assert await stage.outcome(delivery()) is DELIVERED
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Retryable)
        assert outcome.lost
        assert stage.server.connections == 2


async def test_a_retry_that_finds_nobody_is_unavailable() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(200)
        await peer.request()
        stage.server.stop_listening()

    async with rest(script) as stage:
        assert await stage.outcome(delivery()) is DELIVERED
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Unavailable)
        assert outcome.code == "refused"
        assert stage.statistic("reused_retries") == 1


async def test_a_reused_connection_lost_in_an_answer_is_not_retried() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(200)
        await peer.request()
        await peer.send(b"H")

    async with rest(script) as stage:
        assert await stage.outcome(delivery()) is DELIVERED
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.lost) == ("connection_lost", True)
        assert stage.server.connections == 1


async def test_a_reused_connection_that_times_out_is_not_retried() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(200)
        await peer.gone()

    async with rest(script, timeout_s=0.1) as stage:
        assert await stage.outcome(delivery()) is DELIVERED
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Retryable)
        assert outcome.code == "timeout"
        assert stage.server.connections == 1


async def test_a_retry_on_a_fresh_connection_keeps_to_the_first_time_out() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.answer(200)
            await peer.request()
        else:
            await peer.gone()

    async with rest(script, timeout_s=0.2) as stage:
        assert await stage.outcome(delivery()) is DELIVERED
        began_s = asyncio.get_running_loop().time()
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Retryable)
        assert outcome.code == "timeout"
        assert asyncio.get_running_loop().time() - began_s >= 0.2


async def test_a_stale_connection_of_a_leaving_partition_is_not_tried_again() -> None:
    at_second, go = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(200)
        await peer.request()
        at_second.set()
        await go.wait()

    async with rest(script) as stage:
        leaving = assigned(1)
        assert await stage.outcome(delivery(leaving)) is DELIVERED
        second = delivery(leaving)
        stage.deliver(second)
        await at_second.wait()
        revoking = asyncio.ensure_future(stage.adapter.revoke(leaving, 30.0))
        await asyncio.sleep(0)
        go.set()
        await revoking
        assert isinstance(stage.settlements.outcomes[second], Withdrawn)
        assert stage.server.connections == 1


@pytest.mark.parametrize("value", [b"x" * 9_000_000])
async def test_an_early_answer_settles_and_ends_the_connection(value: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.answer(413)
        await peer.gone()

    async with rest(script) as stage:
        outcome = await stage.outcome(delivery(value=value))
        assert getattr(outcome, "status", None) == 413
        await stage.server.watch.until(lambda: stage.server.open == 0)


async def test_a_peer_that_does_not_read_times_out() -> None:
    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with rest(script, timeout_s=0.1) as stage:
        outcome = await stage.outcome(delivery(value=b"x" * 20_000_000))
        assert isinstance(outcome, Retryable)
        assert outcome.code == "timeout"


async def test_bytes_nobody_asked_for_end_an_idle_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(200)
        await peer.send(b"HTTP/1.1 408 Too Late\r\n\r\n")
        await peer.gone()

    async with rest(script) as stage:
        for each in deliveries(3):
            assert await stage.outcome(each) is DELIVERED
            await stage.server.watch.until(lambda: stage.server.open == 0)
        assert stage.server.connections == 3


async def test_an_idle_connection_that_the_peer_ends_is_forgotten() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(200)
        await asyncio.sleep(0)

    async with rest(script) as stage:
        for each in deliveries(3):
            assert await stage.outcome(each) is DELIVERED
        await stage.server.watch.until(lambda: stage.server.open == 0)


async def test_an_idle_connection_is_closed_in_time() -> None:
    async with rest(accepting, connection_idle_max_s=0.1) as stage:
        assert await stage.outcome(delivery()) is DELIVERED
        await stage.server.watch.until(lambda: stage.server.open == 0)
        assert await stage.outcome(delivery()) is DELIVERED
        assert stage.server.connections == 2


async def test_an_old_connection_is_replaced_also_under_load() -> None:
    async with rest(accepting, concurrency_max=1, connection_age_max_s=0.1) as stage:
        while stage.server.connections < 3:
            assert await stage.outcome(delivery()) is DELIVERED
        assert stage.statistic("reused_retries") == 0
        assert stage.server.open_max <= 2


async def test_a_refused_connection_says_where() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with rest(accepting, url=f"http://127.0.0.1:{port}/") as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Unavailable)
        assert (outcome.code, outcome.throttled) == ("refused", False)
        assert outcome.reason == f"127.0.0.1 port {port} refused the connection"
        stage.deliver(*deliveries(8))
        assert {getattr(each, "code", "") for each in await stage.settlements.all()} == {"refused"}


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".invalid"])
async def test_a_name_that_cannot_be_resolved_is_unavailable(host: str) -> None:
    async with rest(accepting, url=f"http://{host}:80/") as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Unavailable)
        assert outcome.code == "unresolved"


async def test_a_resolver_that_does_not_answer_ends_with_the_connect_timeout() -> None:
    async def look_up(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with rest(accepting, url="http://billing:{port}/", look_up=look_up, connect_timeout_s=0.05) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Unavailable)
        assert outcome.code == "unresolved"


async def test_connections_are_spread_over_all_addresses() -> None:
    seen: list[str] = []

    async def script(peer: Peer) -> None:
        seen.append(peer.writer.get_extra_info("sockname")[0])
        await hanging(peer)

    async def look_up(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1", "127.0.0.2", "127.0.0.3"]

    async with rest(script, url="http://billing:{port}/", host="0.0.0.0", look_up=look_up, concurrency_max=6) as stage:
        stage.deliver(*deliveries(6))
        await stage.server.watch.until(lambda: stage.server.open == 6)
        assert sorted(seen) == ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"]
        assert stage.statistic("addresses") == 3


async def test_a_dead_address_is_passed_over() -> None:
    async def look_up(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.9", "127.0.0.1"]

    async with rest(accepting, url="http://billing:{port}/", look_up=look_up) as stage:
        stage.deliver(*deliveries(8))
        assert set(await stage.settlements.all()) == {DELIVERED}


async def test_ipv6_addresses_stand_in_brackets() -> None:
    hosts: list[str | None] = []

    async def script(peer: Peer) -> None:
        hosts.append((await peer.request()).header("host"))
        await peer.answer(200)

    try:
        async with rest(script, url="http://[::1]:{port}/orders", host="::1") as stage:
            assert await stage.outcome(delivery()) is DELIVERED
    except OSError:
        pytest.skip("no IPv6 here")
    assert hosts[0] is not None
    assert hosts[0].startswith("[::1]:")


async def test_headers_over_the_bound_are_undeliverable_and_never_sent() -> None:
    async with rest(accepting, request_header_bytes_max=2048) as stage:
        big = delivery(headers=(("h", b"\x00" * 1000),))
        small = delivery()
        stage.deliver(big, small)
        outcome = await stage.settlements.of(big)
        assert isinstance(outcome, Undeliverable)
        assert outcome.code == "headers_too_large"
        assert await stage.settlements.of(small) is DELIVERED
        assert await stage.outcome(delivery(key=b"k" * 3000)) != DELIVERED
        assert stage.statistic("requests") == 1


async def test_a_record_that_cannot_fill_the_url_is_rejected_and_never_sent() -> None:
    async with rest(accepting, url="http://127.0.0.1:{port}/{{header:tenant}}") as stage:
        unfilled, filled = delivery(), delivery(headers=(("tenant", b"a"),))
        stage.deliver(unfilled, filled)
        assert await stage.settlements.of(unfilled) == Rejected(
            code="url_unfilled", reason="delivery.url cannot be filled: its header tenant is missing or empty"
        )
        assert await stage.settlements.of(filled) is DELIVERED
        assert stage.statistic("requests") == 1


async def test_close_ends_with_a_peer_that_accepts_and_never_answers() -> None:
    async with rest(hanging) as stage:
        stage.deliver(*deliveries(8))
        await stage.server.watch.until(lambda: stage.server.open == 8)
        await stage.adapter.close(0.0)
        assert stage.statistic("open") == 0
        await stage.server.watch.until(lambda: stage.server.open == 0)


async def test_a_delivery_that_may_no_longer_start_when_its_connection_stands_is_withdrawn() -> None:
    may_start = [False, True]
    async with rest(accepting, may_start=lambda: may_start.pop(0)) as stage:
        assert isinstance(await stage.outcome(delivery()), Withdrawn)
        assert stage.statistic("requests") == 0
        assert await stage.outcome(delivery()) is DELIVERED
        assert stage.server.connections == 1, "the connection was kept"
