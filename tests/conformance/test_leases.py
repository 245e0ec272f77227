"""Rules that the pipeline relies on where a delivery is a lease, for every protocol."""

import asyncio

from mpsd.core.outcome import DELIVERED, Outcome, Retryable, Withdrawn
from tests.conformance.conftest import Staged
from tests.conformance.deliveries import assigned, deliveries, delivery
from tests.conformance.harness import LeasingHarness, Reaction
from tests.conformance.stage import Stage


def application(stage: Stage) -> LeasingHarness:
    """Return the application, which keeps deliveries in flight from now on."""
    assert isinstance(stage.application, LeasingHarness)
    stage.application.reaction = Reaction.HANG
    return stage.application


def is_expired(outcome: Outcome) -> bool:
    return isinstance(outcome, Retryable) and (outcome.code, outcome.lost) == ("lease_expired", True)


async def test_what_is_settled_after_its_lease_changes_nothing(leasing: Staged) -> None:
    async with leasing() as stage:
        holder = application(stage)
        stage.deliver(given := delivery())
        await holder.watch.until(lambda: holder.in_flight == 1)
        await holder.extend(0.05)
        assert is_expired(await stage.settlements.of(given))
        await holder.watch.until(lambda: holder.in_flight == 0)
        await holder.settle_late()
        await holder.watch.until(lambda: holder.stale == 1)
        assert is_expired(stage.settlements.outcomes[given])
        holder.reaction = Reaction.ACCEPT
        assert await stage.outcome(delivery()) is DELIVERED


async def test_an_extended_lease_outlasts_the_others(leasing: Staged) -> None:
    async with leasing(lease_s=1.0) as stage:
        holder = application(stage)
        kept, others = deliveries(2, assigned(1)), deliveries(2, assigned(2))
        stage.deliver(*kept)
        await holder.watch.until(lambda: holder.in_flight == 2)
        await holder.extend(30.0)
        stage.deliver(*others)
        assert all([is_expired(await stage.settlements.of(each)) for each in others])
        assert not any(each in stage.settlements.outcomes for each in kept)
        holder.release()
        assert [await stage.settlements.of(each) for each in kept] == [DELIVERED] * 2


async def test_an_extended_lease_ends_too(leasing: Staged) -> None:
    async with leasing(lease_s=30.0) as stage:
        holder = application(stage)
        given = delivery()
        stage.deliver(given)
        await holder.watch.until(lambda: holder.in_flight == 1)
        await holder.extend(0.05)
        assert is_expired(await stage.settlements.of(given))


async def test_no_extension_goes_beyond_the_total(leasing: Staged) -> None:
    async with leasing(lease_s=0.2, total_max_s=0.4) as stage:
        holder = application(stage)
        given = delivery()
        stage.deliver(given)
        await holder.watch.until(lambda: holder.in_flight == 1)
        for _ in range(3):
            await holder.extend(30.0)
        assert is_expired(await stage.settlements.of(given))


async def test_what_was_revoked_is_settled_in_vain(leasing: Staged) -> None:
    async with leasing() as stage:
        holder = application(stage)
        leaving = assigned(1)
        mine = deliveries(3, leaving)
        stage.deliver(*mine)
        await holder.watch.until(lambda: holder.in_flight == 3)
        await stage.adapter.revoke(leaving, 0.01)
        await holder.watch.until(lambda: holder.in_flight == 0)
        await holder.settle_late()
        await holder.watch.until(lambda: holder.stale == 3)
        assert all(isinstance(stage.settlements.outcomes[each], Withdrawn) for each in mine)


async def test_closing_lets_finish_what_is_held(leasing: Staged) -> None:
    async with leasing() as stage:
        holder = application(stage)
        mine = deliveries(3)
        stage.deliver(*mine)
        await holder.watch.until(lambda: holder.in_flight == 3)
        closing = asyncio.create_task(stage.adapter.close(30.0))
        if holder.tells_of_drain:
            await holder.watch.until(lambda: holder.drained)
        assert not closing.done()
        assert stage.adapter.demand().records == 0
        holder.release()
        await closing
        assert [stage.settlements.outcomes[each] for each in mine] == [DELIVERED] * 3


async def test_never_more_is_held_than_was_asked_for(leasing: Staged) -> None:
    async with leasing(concurrency_max=5) as stage:
        holder = application(stage)
        stage.deliver(*deliveries(5))
        await holder.watch.until(lambda: holder.in_flight == 5)
        assert stage.adapter.demand().records == 0
        holder.release()
        await stage.demanding(5)
        assert holder.in_flight_max == 5
