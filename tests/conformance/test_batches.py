"""Rules for batches alone: partial failures, bisecting, incredible answers, runs."""

import json
from collections.abc import Awaitable, Callable, Sequence

import pytest

from mpsd.config import Batch
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.lanes import Lanes
from mpsd.core.outcome import DELIVERED, Outcome, Rejected, Retryable, Unavailable, Withdrawn
from tests.conformance.batch_harness import answer, events
from tests.conformance.deliveries import assigned, deliveries, delivery
from tests.conformance.http_server import Peer
from tests.conformance.rest_stage import RestStage, rest
from tests.conformance.watch import Watch

TWENTY = Batch(records_max=20)
Answer = Callable[[Peer, list[int]], Awaitable[None]]


class Application:
    """Answers each request as a function says, and remembers which offsets each carried."""

    def __init__(self, says: Answer) -> None:
        self._says = says
        self.requests: list[list[int]] = []
        self.watch = Watch()

    async def serve(self, peer: Peer) -> None:
        while True:
            offsets = [int(event["mpsoffset"]) for event in events(await peer.request())]
            self.requests.append(offsets)
            self.watch.changed()
            await self._says(peer, offsets)


def poisoned(*bad: int, status: int = 500) -> Application:
    """Return an application that fails a whole request because of one of its records."""

    async def says(peer: Peer, offsets: list[int]) -> None:
        await peer.answer(status if set(offsets) & set(bad) else 200)

    return Application(says)


def run(count: int, assignment: Assignment | None = None) -> list[Delivery]:
    """All of one key, handed out together."""
    assignment, lanes = assignment or assigned(), Lanes()
    for offset in range(count):
        lanes.add(delivery(assignment, offset=offset, key=b"k"))
    head = lanes.take()
    return [head, *lanes.take_run(head, count)]


async def persistently(stage: RestStage, given: Sequence[Delivery]) -> dict[int, list[Outcome]]:
    """Deliver, and what was taken back again, until nothing is; returns all outcomes but Withdrawn, by offset."""
    outcomes: dict[int, list[Outcome]] = {each.record.offset: [] for each in given}
    left = list(given)
    while left:
        stage.deliver(*left)
        await stage.settlements.all()
        for each in left:
            outcomes[each.record.offset].append(stage.settlements.outcomes[each])
        left = [each for each in left if isinstance(stage.settlements.outcomes[each], Withdrawn)]
    return {offset: [o for o in seen if not isinstance(o, Withdrawn)] for offset, seen in outcomes.items()}


async def test_what_is_ready_goes_together_and_no_further_than_the_bound() -> None:
    application = poisoned()
    async with rest(application.serve, batch=TWENTY) as stage:
        stage.deliver(*deliveries(45))
        assert set(await stage.settlements.all()) == {DELIVERED}
        assert sorted(map(len, application.requests)) == [5, 20, 20]


async def test_an_answer_names_those_that_failed() -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        await answer(peer, {"AAECAwQFBgcICQoLDA0ODw/3/2": "retry", "AAECAwQFBgcICQoLDA0ODw/3/4": "dead-letter"})

    async with rest(Application(says).serve, batch=TWENTY) as stage:
        given = deliveries(6)
        stage.deliver(*given)
        await stage.settlements.all()
        outcomes = [stage.settlements.outcomes[each] for each in given]
        assert [outcome is DELIVERED for outcome in outcomes] == [True, True, False, True, False, True]
        assert outcomes[2] == Retryable(
            code="verdict_retry", reason="answered 200: as told", status=200, retry_after_s=0.0
        )
        assert outcomes[4] == Rejected(code="verdict_dead_letter", reason="answered 200: as told", status=200)


@pytest.mark.parametrize("body", [b"", b"\r\n", b'{"failures": []}', b'{"failures": [], "took_ms": 3}'])
async def test_an_answer_that_names_nobody_is_success(body: bytes) -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        await peer.answer(200, body=body)

    async with rest(Application(says).serve, batch=TWENTY) as stage:
        stage.deliver(*deliveries(3))
        assert set(await stage.settlements.all()) == {DELIVERED}


async def test_many_failures_fit_into_an_answer() -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        failures = [{"id": f"AAECAwQFBgcICQoLDA0ODw/3/{at}", "action": "retry", "reason": "x" * 256} for at in offsets]
        await peer.answer(200, body=json.dumps({"failures": failures}).encode())

    batch = Batch(records_max=1000)
    async with rest(Application(says).serve, batch=batch, response_body_bytes_max=0) as stage:
        stage.deliver(*deliveries(1000))
        assert all(isinstance(outcome, Retryable) for outcome in await stage.settlements.all())


@pytest.mark.parametrize("status", [400, 408, 413, 422, 500])
@pytest.mark.parametrize("culprit", [0, 7, 15])
async def test_the_culprit_of_a_request_that_fails_is_found_and_alone_charged(status: int, culprit: int) -> None:
    application = poisoned(culprit, status=status)
    async with rest(application.serve, batch=TWENTY) as stage:
        outcomes = await persistently(stage, deliveries(16))
        failed = {offset for offset, seen in outcomes.items() if seen != [DELIVERED]}
        assert failed == {culprit}
        (outcome,) = outcomes[culprit]
        assert isinstance(outcome, Rejected if 400 <= status < 500 and status != 408 else Retryable)
        assert len(application.requests) == 1 + 2 * 4
        assert stage.statistic("batches_cut") == 4
        assert stage.statistic("suspects") == 0


async def test_several_culprits_are_found() -> None:
    application = poisoned(1, 2, 13)
    async with rest(application.serve, batch=TWENTY) as stage:
        outcomes = await persistently(stage, deliveries(16))
        assert {offset for offset, seen in outcomes.items() if seen != [DELIVERED]} == {1, 2, 13}
        assert len(application.requests) <= 2 * 16


async def test_a_culprit_that_breaks_the_connection_is_found() -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        if 5 in offsets:
            peer.reset()
            raise EOFError
        await peer.answer(200)

    async with rest(Application(says).serve, batch=TWENTY) as stage:
        outcomes = await persistently(stage, deliveries(16))
        assert {offset for offset, seen in outcomes.items() if seen != [DELIVERED]} == {5}
        (outcome,) = outcomes[5]
        assert isinstance(outcome, Retryable)
        assert outcome.lost


async def test_a_culprit_that_is_never_answered_is_found() -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        if 5 in offsets:
            await peer.gone()
            raise EOFError
        await peer.answer(200)

    async with rest(Application(says).serve, batch=TWENTY, timeout_s=0.05) as stage:
        (outcome,) = (await persistently(stage, deliveries(16)))[5]
        assert isinstance(outcome, Retryable)
        assert outcome.code == "timeout"


@pytest.mark.parametrize("status", [503, 429, 404, 502, 302])
async def test_an_endpoint_that_is_out_says_nothing_about_records(status: int) -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        await peer.answer(status)

    application = Application(says)
    async with rest(application.serve, batch=TWENTY) as stage:
        stage.deliver(*deliveries(8))
        outcomes = await stage.settlements.all()
        assert {isinstance(outcome, Unavailable) and outcome.request for outcome in outcomes} == {1}
        assert len(application.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"OK",
        b"{}",
        b"[]",
        b"null",
        b'{"failures": {}}',
        b'{"failures": [{"id": "AAECAwQFBgcICQoLDA0ODw/3/99", "action": "retry"}]}',
        (
            b'{"failures": [{"id": "AAECAwQFBgcICQoLDA0ODw/3/1", "action": "retry"},'
            b' {"id": "AAECAwQFBgcICQoLDA0ODw/3/1", "action": "retry"}]}'
        ),
        b'{"failures": [{"id": "AAECAwQFBgcICQoLDA0ODw/3/1", "action": "ignore"}]}',
        b'{"failures": [{"id": "AAECAwQFBgcICQoLDA0ODw/3/1"}]}',
        b'{"failures": [{"id": 1, "action": "retry"}]}',
        b'{"failures": ["AAECAwQFBgcICQoLDA0ODw/3/1"]}',
        b'{"failures": [{"id": "AAECAwQFBgcICQoLDA0ODw/3/1", "action": "retry", "reason": 5}]}',
        b'{"failures": [{"id": "AAECAwQFBgcICQoLDA0ODw/3/1", "action": "retry", "retry_after_s": -1}]}',
        b'{"failures": [{"id": "AAECAwQFBgcICQoLDA0ODw/3/1", "action": "retry", "retry_after_s": NaN}]}',
        b'{"failures": [{"id": "AAECAwQFBgcICQoLDA0ODw/3/1", "action": "retry", "retry_after_s": true}]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
async def test_an_answer_that_cannot_be_believed_fails_all_and_is_counted(body: bytes) -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        await peer.answer(200, body=body)

    async with rest(Application(says).serve, batch=TWENTY) as stage:
        outcomes = await persistently(stage, deliveries(4))
        for seen in outcomes.values():
            (outcome,) = seen
            assert isinstance(outcome, Retryable)
            assert outcome.code in {"batch_answer", "verdict_retry"}
        assert stage.statistic("answers_unbelievable") >= 1


async def test_an_answer_over_its_bound_cannot_be_believed() -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        await peer.answer(200, body=b'{"failures": [' + b" " * 200_000)

    async with rest(Application(says).serve, batch=TWENTY) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Retryable)
        assert outcome.code == "batch_answer"


async def test_of_a_key_only_a_prefix_succeeds() -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        await answer(peer, {"AAECAwQFBgcICQoLDA0ODw/3/2": "retry"})

    async with rest(Application(says).serve, batch=TWENTY) as stage:
        given, other = run(5), delivery(offset=9, key=b"other")
        stage.deliver(*given, other)
        await stage.settlements.all()
        outcomes = [type(stage.settlements.outcomes[each]) for each in (*given, other)]
        assert outcomes == [type(DELIVERED)] * 2 + [Retryable, Withdrawn, Withdrawn, type(DELIVERED)]


@pytest.mark.parametrize("stops", [False, True])
async def test_a_dead_letter_stops_its_key_only_where_it_is_held(stops: bool) -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        await answer(peer, {"AAECAwQFBgcICQoLDA0ODw/3/1": "dead-letter"})

    async with rest(Application(says).serve, batch=TWENTY, dead_letter_stops_key=stops) as stage:
        given = run(3)
        stage.deliver(*given)
        await stage.settlements.all()
        assert isinstance(stage.settlements.outcomes[given[1]], Rejected)
        assert isinstance(stage.settlements.outcomes[given[2]], Withdrawn) is stops


async def test_behind_an_endpoint_that_is_out_a_run_waits_for_its_head() -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        await peer.answer(503)

    async with rest(Application(says).serve, batch=TWENTY) as stage:
        given = run(3)
        stage.deliver(*given)
        await stage.settlements.all()
        assert [type(stage.settlements.outcomes[each]) for each in given] == [Unavailable, Withdrawn, Withdrawn]


async def test_a_run_that_does_not_fit_comes_back_and_nothing_overtakes() -> None:
    application = poisoned()
    batch = Batch(records_max=2)
    async with rest(application.serve, batch=batch, concurrency_max=4) as stage:
        given = run(5)
        stage.deliver(*given)
        await stage.settlements.all()
        assert application.requests == [[0, 1]]
        assert [isinstance(stage.settlements.outcomes[each], Withdrawn) for each in given] == [False] * 2 + [True] * 3


async def test_revoke_takes_its_own_out_of_a_request_that_was_not_sent() -> None:
    application = poisoned()
    async with rest(application.serve, batch=TWENTY) as stage:
        leaving, staying = assigned(1), assigned(2)
        mine, others = deliveries(3, leaving), deliveries(3, staying)
        stage.deliver(*mine, *others)
        await stage.adapter.revoke(leaving, 30.0)
        assert all(isinstance(stage.settlements.outcomes[each], Withdrawn) for each in mine)
        assert [await stage.settlements.of(each) for each in others] == [DELIVERED] * 3
        assert [sorted(offsets) for offsets in application.requests] == [[0, 1, 2]]


async def test_revoke_at_its_deadline_aborts_the_whole_request_and_costs_nobody_an_attempt() -> None:
    async def says(peer: Peer, offsets: list[int]) -> None:
        await peer.gone()
        raise EOFError

    application = Application(says)
    async with rest(application.serve, batch=TWENTY) as stage:
        leaving, staying = assigned(1), assigned(2)
        stage.deliver(*deliveries(3, leaving), *deliveries(3, staying))
        await application.watch.until(lambda: bool(application.requests))
        await stage.adapter.revoke(leaving, 0.01)
        assert all(isinstance(outcome, Withdrawn) for outcome in await stage.settlements.all())


async def test_nothing_starts_late_where_the_lease_is_over() -> None:
    application = poisoned()
    async with rest(application.serve, batch=TWENTY, may_start=lambda: False) as stage:
        stage.deliver(*deliveries(3))
        assert all(isinstance(outcome, Withdrawn) for outcome in await stage.settlements.all())
        assert not application.requests


async def test_large_records_go_in_requests_of_their_own_and_wait_for_a_connection() -> None:
    application = poisoned()
    batch = Batch(records_max=20, bytes_max=1024)
    async with rest(application.serve, batch=batch, concurrency_max=2) as stage:
        given = [delivery(offset=at, key=b"%d" % at, value=bytes(2000)) for at in range(10)]
        for each in given:
            each.size_bytes += 600
        stage.deliver(*given)
        assert stage.adapter.demand().records == 0
        assert set(await stage.settlements.all()) == {DELIVERED}
        assert stage.server.open_max <= 2
        assert sorted(application.requests) == [[at] for at in range(10)]
        assert stage.adapter.demand().records == 40
