"""An application that refuses its records is seen at the first look: in the status, and in the check-up."""

import pytest

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.fleet import merge_status
from mpsd.admin.rates import RECENT_S, RECENT_SAMPLE_S, Counts, Rates
from mpsd.admin.wire import timestamp
from mpsd.core.breaker import EndpointState as BreakerState
from mpsd.core.outcome import DELIVERED, Moment, Outcome, Rejected, Unavailable
from tests.fakes.steerable import Served, served
from tests.unit.admin.test_blocked_keys import until

REASON = "answered 422: body.order: Field required (missing)"
REFUSED = Rejected(code="status_422", reason=REASON, status=422)


async def settle(one: Served, refused: int, accepted: int) -> None:
    """Deliver so many records, each of a key of its own; the accepted ones first."""
    one.pipe.adapter.answer = lambda delivery: DELIVERED if delivery.record.offset < accepted else REFUSED
    one.pipe.adapter.takes_s = 0.0
    one.pipe.source.assign(0)
    one.pipe.source.produce(*(b"k%d" % number for number in range(accepted + refused)))
    outcomes, written = one.pipe.pipeline.writer.outcomes, one.pipe.sink.dead_letters
    await until(lambda: outcomes["delivered"] == accepted and len(written) == refused)


async def found(one: Served) -> pb.Finding:
    """Return the finding about dead letters."""
    answer = await one.stub.Diagnose(pb.DiagnoseRequest(scope=pb.SCOPE_INSTANCE))
    finding: pb.Finding
    (finding,) = [each for each in answer.findings if "became dead letters" in each.message]
    return finding


async def test_the_last_failure_is_in_the_status_in_the_words_of_the_application() -> None:
    async with served() as (one,):
        await settle(one, refused=1, accepted=1)
        answer = await one.stub.GetStatus(pb.GetStatusRequest(scope=pb.SCOPE_INSTANCE))
        (said,) = answer.status.subscriptions
        assert said.last_failure.record == pb.RecordRef(topic="orders", partition=0, offset=1)
        assert (said.last_failure.reason, said.last_failure.code) == (REASON, "delivery.status_422")
        assert said.last_failure.dead_lettered
        assert said.last_failure.failed_at.seconds > 0


async def test_where_nothing_failed_nothing_is_said() -> None:
    async with served() as (one,):
        await settle(one, refused=0, accepted=3)
        answer = await one.stub.GetStatus(pb.GetStatusRequest(scope=pb.SCOPE_INSTANCE))
        assert not answer.status.subscriptions[0].HasField("last_failure")
        checked = await one.stub.Diagnose(pb.DiagnoseRequest(scope=pb.SCOPE_INSTANCE))
        assert not [each for each in checked.findings if "dead letters" in each.message]


@pytest.mark.parametrize(
    ("refused", "accepted", "severity"),
    [(30, 0, "ERROR"), (10, 10, "ERROR"), (10, 11, "WARNING"), (9, 0, "OK"), (10, 991, "OK")],
)
async def test_many_dead_letters_are_a_finding_with_the_last_reason(refused: int, accepted: int, severity: str) -> None:
    async with served() as (one,):
        await settle(one, refused, accepted)
        finding = await found(one)
        assert finding.severity == pb.Severity.Value(f"SEVERITY_{severity}")
        assert finding.subject == "billing"
        assert (
            f"{refused} of {refused + accepted:,} records of the last 10 minutes became dead letters" in finding.message
        )
        assert f"; the last: orders/0@{accepted + refused - 1}: {REASON}" in finding.message
        assert ("mpsctl dlq ls billing --group-by reason" in finding.advice) == (severity != "OK")


OUT = Unavailable(code="refused", reason="127.0.0.1 port 8000 refused the connection")


@pytest.mark.parametrize(
    ("outcome", "state", "code", "says", "to_do"),
    [
        (OUT, BreakerState.OUT, "endpoint.out", "nothing succeeds, and 300 records wait at no cost", "by themselves"),
        (
            REFUSED,
            BreakerState.ALL_REJECTED,
            "endpoint.all_rejected",
            "dead-lettering stopped after 100 records, and 200 wait",
            "mpsctl accept-rejections billing",
        ),
    ],
)
async def test_an_endpoint_that_takes_nothing_is_an_error_with_its_last_words(
    outcome: Outcome, state: BreakerState, code: str, says: str, to_do: str
) -> None:
    async with served() as (one,):
        pipeline = one.pipe.pipeline
        one.pipe.adapter.answer = lambda _: outcome
        one.pipe.adapter.takes_s = 0.0
        one.pipe.source.assign(0)
        one.pipe.source.produce(*(b"k%d" % number for number in range(300)))
        dead = 0 if state is BreakerState.OUT else 100
        await until(lambda: pipeline.policy.breaker.state is state)
        await until(lambda: len(one.pipe.queues[0].tracker.unfinished) == 300 - dead)
        answer = await one.stub.Diagnose(pb.DiagnoseRequest(scope=pb.SCOPE_INSTANCE))
        (finding,) = [each for each in answer.findings if each.code == code]
        assert finding.severity == pb.SEVERITY_ERROR
        assert says in finding.message
        assert finding.message.endswith(outcome.reason)  # type: ignore[union-attr]
        assert "mpsd check-endpoint http://127.0.0.1:8000/orders" in finding.advice
        assert to_do in finding.advice
        if state is BreakerState.ALL_REJECTED:
            pipeline.policy.breaker.accept(Moment(0.0, 0))
            answer = await one.stub.Diagnose(pb.DiagnoseRequest(scope=pb.SCOPE_INSTANCE))
            assert "endpoint.rejections_accepted" in [each.code for each in answer.findings]


def test_only_what_is_recent_counts() -> None:
    now_s, counts = 0.0, Counts(0, 0)
    rates = Rates(lambda: {"billing": counts}, lambda: now_s)
    assert rates.recent("billing") == Counts(0, 0, 0)
    rates.sample()
    counts = Counts(100, 5, 50)
    assert rates.recent("billing") == Counts(100, 5, 50)
    while now_s < 2 * RECENT_S:
        now_s += RECENT_SAMPLE_S / 4
        rates.sample()
    assert rates.recent("billing") == Counts(0, 0, 0)
    counts = Counts(101, 5, 52)
    assert rates.recent("billing") == Counts(1, 0, 2)
    assert rates.recent("nobody") == Counts(0, 0, 0)


def test_of_several_daemons_the_newest_failure_is_the_last() -> None:
    def answer(failed_ms: int) -> pb.Status:
        failure = pb.Failure(reason=f"at {failed_ms}", failed_at=timestamp(failed_ms)) if failed_ms else None
        return pb.Status(
            taken_at=timestamp(1_000), subscriptions=[pb.SubscriptionStatus(name="billing", last_failure=failure)]
        )

    for order in ([0, 5, 9], [9, 5, 0], [5, 9, 0]):
        assert merge_status([answer(each) for each in order], []).subscriptions[0].last_failure.reason == "at 9"
    assert not merge_status([answer(0), answer(0)], []).subscriptions[0].HasField("last_failure")
