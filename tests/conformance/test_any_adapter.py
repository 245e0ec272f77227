"""Rules that the pipeline relies on, for every protocol."""

import asyncio

import pytest

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import DELIVERED, Outcome, Rejected, Retryable, Unavailable, Withdrawn
from tests.conformance.conftest import Staged
from tests.conformance.deliveries import assigned, deliveries, delivery
from tests.conformance.harness import Reaction, Received
from tests.conformance.stage import Stage


async def test_a_delivery_arrives_as_it_was_given(staged: Staged) -> None:
    async with staged() as stage:
        given = delivery(assigned(partition=5, epoch=9), key=b"\x00k %\xff", value=b"\x00\r\n\xff", attempts=2)
        assert await stage.outcome(given) is DELIVERED
        assert stage.application.received == [Received("orders", 5, 1842, b"\x00k %\xff", b"\x00\r\n\xff", 3, 9)]


@pytest.mark.parametrize("key", [None, b""])
@pytest.mark.parametrize("value", [None, b""])
async def test_nothing_and_empty_are_told_apart(staged: Staged, key: bytes | None, value: bytes | None) -> None:
    async with staged() as stage:
        assert await stage.outcome(delivery(key=key, value=value)) is DELIVERED
        (received,) = stage.application.received
        assert (received.key, received.value) == (key, value)


@pytest.mark.parametrize("size", [1, 1024, 65_536, 1_048_576, 9_000_000])
async def test_a_value_of_any_size_arrives(staged: Staged, size: int) -> None:
    async with staged() as stage:
        value = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert await stage.outcome(delivery(value=value)) is DELIVERED
        assert stage.application.received[0].value == value


@pytest.mark.parametrize(
    ("reaction", "expected"),
    [
        (Reaction.ASK_TO_RETRY, Retryable),
        (Reaction.REJECT, Rejected),
        (Reaction.ASK_FOR_LESS, Unavailable),
        (Reaction.SAY_UNAVAILABLE, Unavailable),
        (Reaction.GO_AWAY, Retryable),
        (Reaction.TALK_NONSENSE, Retryable),
    ],
)
async def test_what_the_application_does_becomes_an_outcome(
    staged: Staged, reaction: Reaction, expected: type[Outcome]
) -> None:
    async with staged() as stage:
        if reaction not in stage.application.reactions:
            pytest.skip("its protocol has no word for it")
        stage.application.reaction = reaction
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, expected)
        assert isinstance(outcome, Unavailable) is (reaction in {Reaction.ASK_FOR_LESS, Reaction.SAY_UNAVAILABLE})
        if isinstance(outcome, Unavailable):
            assert outcome.throttled is (reaction is Reaction.ASK_FOR_LESS)
        if isinstance(outcome, Retryable):
            assert outcome.lost is (reaction in stage.application.lost_reactions)
        stage.application.reaction = Reaction.ACCEPT
        assert await stage.outcome(delivery()) is DELIVERED


async def test_no_answer_in_time_is_a_lost_delivery(staged: Staged) -> None:
    async with staged(timeout_s=0.1) as stage:
        stage.application.reaction = Reaction.HANG
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.lost) == (stage.application.timeout_code, True)
        await stage.application.watch.until(lambda: stage.application.in_flight == 0)


async def test_the_demand_is_what_is_free(staged: Staged) -> None:
    async with staged(concurrency_max=3) as stage:
        stage.application.reaction = Reaction.HANG
        each = stage.application.records_per_request
        assert stage.adapter.demand().records == 3 * each
        assert stage.adapter.demand().bytes > 1_000_000
        stage.deliver(*deliveries(2 * each))
        assert stage.adapter.demand().records == each
        stage.demanded = 0
        stage.deliver(delivery())
        assert stage.adapter.demand().records == 0
        assert stage.demanded == 0
        await stage.application.watch.until(lambda: stage.application.in_flight == 2 * each + 1)
        stage.application.release()
        await stage.settlements.all()
        await stage.demanding(3 * each)
        assert stage.adapter.demand().records == 3 * each
        assert stage.demanded >= 1


async def test_never_more_in_flight_than_allowed(staged: Staged) -> None:
    async with staged(concurrency_max=4) as stage:
        left = deliveries(400)

        def settle_and_go_on() -> None:
            batch = [left.pop() for _ in range(min(stage.adapter.demand().records, len(left)))]
            stage.deliver(*batch)

        while left:
            settle_and_go_on()
            await stage.settlements.watch.until(lambda: stage.adapter.demand().records > 0)
        assert set(await stage.settlements.all()) == {DELIVERED}
        assert stage.application.in_flight_max <= 4 * stage.application.records_per_request
        assert len(stage.application.received) == 400


async def three_each_in_flight(stage: Stage, *assignments: Assignment) -> list[list[Delivery]]:
    """Deliver three records of each assignment that the application does not answer until it is released."""
    stage.application.reaction = Reaction.HANG
    found = [deliveries(3, assignment) for assignment in assignments]
    for each in found:
        stage.deliver(*each)
    await stage.application.watch.until(lambda: stage.application.in_flight == 3 * len(found))
    return found


async def test_revoke_waits_for_what_is_in_flight(staged: Staged) -> None:
    async with staged() as stage:
        leaving = assigned(1)
        mine, _ = await three_each_in_flight(stage, leaving, assigned(2))
        revoking = asyncio.ensure_future(stage.adapter.revoke(leaving, 30.0))
        await asyncio.sleep(0)
        assert not revoking.done()
        stage.application.release()
        await revoking
        assert [stage.settlements.outcomes[each] for each in mine] == [DELIVERED] * 3


async def test_revoke_aborts_at_its_deadline_and_leaves_others_alone(staged: Staged) -> None:
    async with staged() as stage:
        leaving = assigned(1)
        mine, others = await three_each_in_flight(stage, leaving, assigned(2))
        await stage.adapter.revoke(leaving, 0.01)
        assert all(isinstance(stage.settlements.outcomes[each], Withdrawn) for each in mine)
        assert not any(each in stage.settlements.outcomes for each in others)
        await stage.application.watch.until(lambda: stage.application.in_flight == 3)
        stage.application.release()
        assert [await stage.settlements.of(each) for each in others] == [DELIVERED] * 3


async def test_revoke_takes_back_what_was_not_sent_yet(staged: Staged) -> None:
    async with staged() as stage:
        leaving = assigned(1)
        mine = deliveries(3, leaving)
        stage.deliver(*mine)
        await stage.adapter.revoke(leaving, 30.0)
        assert all(each in stage.settlements.outcomes for each in mine)


async def test_revoke_of_nothing_returns(staged: Staged) -> None:
    async with staged() as stage:
        await stage.adapter.revoke(assigned(), 30.0)


async def test_close_withdraws_what_does_not_end_in_time(staged: Staged) -> None:
    async with staged() as stage:
        stage.application.reaction = Reaction.HANG
        stage.deliver(*deliveries(5))
        await stage.application.watch.until(lambda: stage.application.in_flight == 5)
        await stage.adapter.close(0.01)
        assert all(isinstance(outcome, Withdrawn) for outcome in stage.settlements.outcomes.values())
        assert stage.settlements.open == 0
        assert stage.adapter.demand().records == 0


async def test_nobody_at_home_is_unavailable_and_then_all_is_well_again(staged: Staged) -> None:
    async with staged() as stage:
        if stage.application.dials_in:
            pytest.skip("nobody can be called; see the next")
        await stage.application.stop()
        outcomes = [await stage.outcome(each) for each in deliveries(3)]
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
        assert stage.adapter.demand().records == 8 * stage.application.records_per_request


async def test_nobody_who_dialled_in_is_no_demand(staged: Staged) -> None:
    async with staged() as stage:
        if not stage.application.dials_in:
            pytest.skip("the application is called")
        await stage.application.stop()
        await stage.settlements.watch.until(lambda: stage.adapter.demand().records == 0)


async def test_it_says_what_it_holds(staged: Staged) -> None:
    async with staged() as stage:
        stage.application.reaction = Reaction.HANG
        for each in deliveries(2):
            stage.deliver(each)
        await stage.application.watch.until(lambda: stage.application.in_flight == 2)
        assert stage.adapter.statistics().numbers["in_flight"] == 2
        stage.application.release()
        await stage.settlements.all()
        assert stage.adapter.statistics().numbers["in_flight"] == 0
