"""Callers that wait: first come, first served; who goes away holds nothing; what ends, and what does not."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from mpsd.config import PullDelivery
from mpsd.core.outcome import Rejected, Retryable, Withdrawn
from mpsd.delivery.pull import PullAdapter, peers
from mpsd.ports import Peer
from tests.conformance.http_client import Answer, Caller
from tests.unit.delivery.pull.served import LEASES, Served, serving

DELIVERY = PullDelivery(protocol="pull")
PEER = Peer("", "127.0.0.1:1", "", "here")


def asking(caller: Caller, **wanted: float) -> asyncio.Future[Answer]:
    return asyncio.ensure_future(caller.post(LEASES, wanted))


async def waiting(served: Served, count: int) -> None:
    await served.until(lambda: served.statistic("waiters") == count)


def ids(answer: Answer) -> list[str]:
    return [record["delivery_id"] for record in answer.json()["records"]]


async def test_first_come_first_served_each_with_what_is_ready() -> None:
    async with serving() as served:
        callers = [served.caller() for _ in range(3)]
        asked = []
        for number, caller in enumerate(callers):
            asked.append(asking(caller, records_max=2, wait_s=1 if number == 2 else 30))
            await waiting(served, number + 1)
        served.add(3)
        offsets = [[record["offset"] for record in (await each).json()["records"]] for each in asked]
        assert offsets == [[0, 1], [2], []]
        for caller in callers:
            caller.cut()


async def test_a_caller_that_goes_away_while_it_waits_holds_nothing() -> None:
    async with serving() as served:
        gone, there = served.caller(), served.caller()
        asked = asking(gone)
        await waiting(served, 1)
        answered = asking(there)
        await waiting(served, 2)
        gone.cut()
        with suppress(EOFError, OSError):
            await asked
        await waiting(served, 1)
        served.add(1)
        assert len(ids(await answered)) == 1
        assert not served.outcomes
        there.cut()


async def test_a_caller_that_went_when_it_was_given_records_gives_them_back() -> None:
    adapter = PullAdapter("billing", DELIVERY, PEER)
    served = Served(adapter, "")
    await adapter.start(served.on_demand, served.settle)
    waiter = adapter.ask(10, None)
    served.add(2)
    await waiter.given
    adapter.leave(waiter)
    assert [type(outcome) for _, outcome in served.outcomes] == [Withdrawn, Withdrawn]
    assert adapter.demand().records == 0
    await adapter.close(0.0)


async def test_a_caller_that_goes_in_the_middle_of_its_answer_gives_it_back() -> None:
    async with serving() as served:
        gone = served.caller()
        reader, writer = await gone.streams()
        served.add(4, value=b"x" * 8_000_000)
        body = b'{"records_max": 4}'
        writer.write(
            b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (LEASES.encode(), len(body), body)
        )
        await reader.readuntil(b"\r\n\r\n")
        assert served.statistic("in_flight") == 4
        gone.cut()
        await served.until(lambda: len(served.outcomes) == 4)
        assert all(isinstance(outcome, Withdrawn) for _, outcome in served.outcomes)


async def test_verdicts_say_what_they_are() -> None:
    async with serving() as served, served.caller() as caller:
        served.add(3)
        answer = await caller.post(LEASES)
        retry, dead, long = ids(answer)
        settlements = [
            {"delivery_id": retry, "verdict": "retry", "delay_s": 1.5, "reason": "later\n"},
            {"delivery_id": dead, "verdict": "dead-letter"},
            {"delivery_id": long, "verdict": "dead-letter", "reason": "é" * 1000},
        ]
        await caller.post(answer.json()["settle_url"], {"settlements": settlements})
        first, second, third = [outcome for _, outcome in served.outcomes]
        assert first == Retryable(code="verdict_retry", reason="later?", retry_after_s=1.5)
        assert second == Rejected(code="verdict_dead_letter", reason="settled as dead-letter")
        assert third == Rejected(code="verdict_dead_letter", reason="é" * 256, excerpt="é".encode() * 512)


async def test_a_second_settlement_changes_nothing() -> None:
    async with serving() as served, served.caller() as caller:
        served.add(1)
        answer = await caller.post(LEASES)
        settled = {"settlements": [{"delivery_id": ids(answer)[0], "verdict": verdict} for verdict in ("ack", "retry")]}
        results = [(await caller.post(answer.json()["settle_url"], settled)).json()["results"] for _ in range(2)]
        said = [each["result"] for result in results for each in result]
        assert said == ["settled", "expired", "expired", "expired"]
        assert len(served.outcomes) == 1


async def test_a_lease_ends_and_what_is_settled_later_is_expired() -> None:
    async with serving() as served, served.caller() as caller:
        served.add(2)
        answer = await caller.post(LEASES, {"lease_s": 0.1})
        assert answer.json()["lease_s"] == 0.1
        await served.until(lambda: len(served.outcomes) == 2)
        assert all(isinstance(o, Retryable) and (o.code, o.lost) == ("lease_expired", True) for _, o in served.outcomes)
        settled = {"settlements": [{"delivery_id": each, "verdict": "ack"} for each in ids(answer)]}
        results = (await caller.post(answer.json()["settle_url"], settled)).json()["results"]
        assert [each["result"] for each in results] == ["expired", "expired"]
        assert len(served.outcomes) == 2
        assert served.statistic("terms") == 0


async def test_what_is_extended_is_held_and_the_rest_is_not() -> None:
    async with serving(lease_total_max_s=20.0) as served, served.caller() as caller:
        served.add(3)
        answer = await caller.post(LEASES, {"lease_s": 1.0})
        kept = ids(answer)[1]
        extended = await caller.post(answer.json()["extend_url"], {"delivery_ids": [kept, kept, "x"], "lease_s": 60})
        results = extended.json()["results"]
        assert [each["result"] for each in results] == ["extended", "extended", "unknown"]
        assert 0 < results[0]["lease_s"] <= 20.0, "no longer than a lease may last in all"
        await served.until(lambda: len(served.outcomes) == 2)
        assert served.statistic("in_flight") == 1
        settled = {"settlements": [{"delivery_id": kept, "verdict": "ack"}]}
        assert (await caller.post(answer.json()["settle_url"], settled)).json()["results"][0]["result"] == "settled"


async def test_requests_are_bounded_by_the_configuration() -> None:
    async with serving(records_max=3, wait_max_s=0.05, lease_total_max_s=5.0) as served, served.caller() as caller:
        assert (await caller.post(LEASES, {"wait_s": 300})).json() == {"records": []}
        served.add(5)
        answer = (await caller.post(LEASES, {"records_max": 10_000, "lease_s": 1000})).json()
        assert (len(answer["records"]), answer["lease_s"]) == (3, 5.0)


async def test_one_timer_looks_after_all_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    adapter = PullAdapter("billing", DELIVERY, PEER)
    served = Served(adapter, "")
    await adapter.start(served.on_demand, served.settle)
    armed: list[float] = []
    call_later = loop.call_later

    def arm(delay_s: float, *rest: Any) -> asyncio.TimerHandle:
        armed.append(delay_s)
        return call_later(delay_s, *rest)

    monkeypatch.setattr(loop, "call_later", arm)
    for _ in range(100):
        waiter = adapter.ask(10, 30.0)
        served.add(10)
        await waiter.given
    assert served.statistic("in_flight") == 1_000
    assert len(armed) == 1
    await adapter.close(0.0)


async def test_what_may_not_start_any_more_is_not_shown() -> None:
    """The process was frozen between the hand-over and the answer: somebody else may have the partition by now."""
    may_start = True
    adapter = PullAdapter("billing", DELIVERY, PEER, lambda: may_start)
    served = Served(adapter, "")
    await adapter.start(served.on_demand, served.settle)
    waiter = adapter.ask(10, None)
    served.add(2)
    lease = await waiter.given
    may_start = False
    assert adapter.hand_out(lease) == []
    assert [type(outcome) for _, outcome in served.outcomes] == [Withdrawn, Withdrawn]
    await adapter.close(0.0)


async def test_what_was_taken_back_before_it_was_sent_is_not_sent() -> None:
    adapter = PullAdapter("billing", DELIVERY, PEER)
    served = Served(adapter, "")
    await adapter.start(served.on_demand, served.settle)
    waiter = adapter.ask(10, None)
    served.add(2)
    lease = await waiter.given
    await adapter.revoke(served.assignment, 30.0)
    assert adapter.hand_out(lease) == []
    await adapter.close(0.0)


def met(*all_served: Served) -> None:
    """They are told of each other."""
    known = [served.adapter.peer for served in all_served]
    for served in all_served:
        served.adapter.on_peers(known)


async def test_records_of_another_instance_come_and_go_through_this_one() -> None:
    async with serving() as idle, serving() as busy, idle.caller() as caller:
        met(idle, busy)
        busy.add(2)
        answer = await caller.post(LEASES, {"records_max": 1})
        lease = answer.json()
        assert f"//{busy.address}/" in lease["settle_url"]
        (record_id,) = ids(answer)
        extended = await caller.post(lease["extend_url"], {"delivery_ids": [record_id]})
        assert extended.json()["results"][0]["result"] == "extended"
        settled = {"settlements": [{"delivery_id": record_id, "verdict": "ack"}]}
        assert (await caller.post(lease["settle_url"], settled)).json()["results"][0]["result"] == "settled"
        assert len(busy.outcomes) == 1
        problem = await caller.post(lease["settle_url"], {"settlements": 5})
        assert problem.status == 422


async def test_a_caller_that_cannot_keep_up_takes_from_all_instances_alike() -> None:
    """All callers come to one instance, as behind a balancer that pins them; the others have as much to give."""
    async with serving() as one, serving() as other, serving() as third, one.caller() as caller:
        met(one, other, third)
        for served in (one, other, third):
            served.add(60)
        for _ in range(12):
            assert len(ids(await caller.post(LEASES, {"records_max": 5}))) == 5
        assert [len(served.ready) for served in (one, other, third)] == [40, 40, 40]


async def test_where_callers_come_to_all_alike_each_instance_gives_its_own_records() -> None:
    """A record of another instance goes through two."""
    async with serving() as one, serving() as other, one.caller() as caller, other.caller() as its_caller:
        met(one, other)
        for served in (one, other):
            served.add(400)
        addresses = [
            (await each.post(LEASES, {"records_max": 5})).json()["settle_url"].split("/")[2]
            for _ in range(40)
            for each in (caller, its_caller)
        ]
        own = [at == one.address for at in addresses[::2]] + [at == other.address for at in addresses[1::2]]
        assert own.count(False) <= 8
        assert abs(len(one.ready) - len(other.ready)) <= 40


async def test_an_instance_whose_turn_it_is_and_that_has_nothing_is_passed_over_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "IDLE_S", 3_600.0)
    async with serving() as one, serving() as other, one.caller() as caller:
        met(one, other)
        one.add(100)
        for _ in range(10):
            assert len(ids(await caller.post(LEASES, {"records_max": 5}))) == 5
        assert len(one.ready) == 50
        assert other.statistic("asked") == 1, "the rest of its turns were this one's"


async def test_what_is_ready_here_goes_first() -> None:
    async with serving() as one, serving() as other, one.caller() as caller:
        met(one, other)
        one.add(1)
        other.add(1)
        assert f"//{one.address}/" in (await caller.post(LEASES)).json()["settle_url"]


async def test_who_waits_here_gets_what_comes_elsewhere_later() -> None:
    async with serving() as idle, serving() as busy, idle.caller() as caller:
        met(idle, busy)
        asked = asking(caller, wait_s=30)
        await waiting(idle, 1)
        busy.add(1)
        assert len(ids(await asked)) == 1


async def test_instances_that_have_nothing_do_not_ask_each_other_in_circles() -> None:
    async with serving() as one, serving() as other, one.caller() as caller:
        met(one, other)
        answer = await caller.post(LEASES, {"wait_s": 0.2})
        assert answer.json() == {"records": []}
        assert (one.statistic("waiters"), other.statistic("waiters")) == (0, 0)
        assert (one.statistic("leases"), other.statistic("leases")) == (0, 0)


async def test_a_holder_that_does_not_answer_is_a_problem_and_not_a_loss() -> None:
    async with serving() as here, here.caller() as caller:
        async with serving() as there, there.caller() as other:
            met(here, there)
            there.add(1)
            answer = await other.post(LEASES)
        settled = {"settlements": [{"delivery_id": ids(answer)[0], "verdict": "ack"}]}
        refused = await caller.post(answer.json()["settle_url"], settled)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert (await caller.post(LEASES, {"wait_s": 0})).json() == {"records": []}


async def test_a_forwarded_settlement_is_never_passed_on() -> None:
    async with serving() as here, serving() as there, here.caller() as caller, there.caller() as other:
        met(here, there)
        there.add(1)
        answer = await other.post(LEASES)
        settled = {"settlements": [{"delivery_id": ids(answer)[0], "verdict": "ack"}]}
        refused = await caller.post(answer.json()["settle_url"], settled, mps_forwarded="x")
        assert refused.json()["results"][0]["result"] == "unknown"
        assert not there.outcomes


async def test_when_it_closes_callers_are_told_at_once() -> None:
    async with serving() as served, served.caller() as caller, served.caller() as late:
        asked = asking(caller, wait_s=30)
        await waiting(served, 1)
        await served.adapter.close(0.0)
        for answer in (await asked, await late.post(LEASES)):
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert "shutting down" in answer.json()["detail"]
