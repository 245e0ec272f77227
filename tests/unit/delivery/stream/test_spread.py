"""The choice of the next stream."""

import random

from mpsd.config import Stream, StreamDelivery
from mpsd.core.idempotency import IdempotencyKeys
from mpsd.delivery.stream.session import Client, Session
from mpsd.delivery.stream.spread import Spread
from mpsd.delivery.stream.wire import RecordWriter
from tests.conformance.deliveries import deliveries

DELIVERY = StreamDelivery(protocol="stream")


def joined(spread: Spread, credit: int, size: int = 0) -> Session:
    session = Session(f"s{credit}", Client("", ""), DELIVERY, Stream(), RecordWriter(IdempotencyKeys()), 0.0)
    spread.join(session)
    session.grant(credit, size)
    spread.count(session)
    return session


def share_out(spread: Spread, records: int) -> int:
    """Count the records that found a stream."""
    shared = 0
    for session, share in spread.shares(records):
        session.assign(deliveries(share), 0.0)
        spread.count(session)
        shared += share
    return shared


def test_equals_share_equally() -> None:
    spread = Spread()
    sessions = [joined(spread, 10) for _ in range(7)]
    assert spread.free == 70
    assert share_out(spread, 35) == 35
    assert [session.credit for session in sessions] == [5] * 7


def test_one_at_a_time_goes_round() -> None:
    spread = Spread()
    sessions = [joined(spread, 10) for _ in range(5)]
    for _ in range(100):
        share_out(spread, 1)
        for session in sessions:
            session.grant(10 - session.credit, 0)
            spread.count(session)
    held = [len(session.unsettled) for session in sessions]
    assert held == [20] * 5


def test_those_with_more_credit_come_first_until_all_have_the_same() -> None:
    spread = Spread()
    large, small = joined(spread, 10), joined(spread, 4)
    assert share_out(spread, 6) == 6
    assert (large.credit, small.credit) == (4, 4)
    assert share_out(spread, 8) == 8
    assert spread.free == 0


def test_nothing_goes_to_one_that_is_stuck_drained_or_gone() -> None:
    spread = Spread()
    stuck, drained, gone, well = [joined(spread, 10) for _ in range(4)]
    stuck.stuck()
    drained.drain(1.0, "")
    gone.end()
    for session in (stuck, drained, gone):
        spread.count(session)
    assert spread.free == 10
    assert share_out(spread, 10) == 10
    assert len(well.unsettled) == 10


def test_where_bytes_are_short_some_find_no_stream() -> None:
    spread = Spread()
    narrow = joined(spread, 10, 1)
    assert share_out(spread, 10) == 1
    assert (narrow.free, spread.bytes_free()) == (0, 0)


def test_it_counts_right_whatever_happens_and_forgets_what_is_out_of_date() -> None:
    chance = random.Random(7)
    spread = Spread()
    sessions = [joined(spread, chance.randrange(5)) for _ in range(10)]
    for _ in range(5_000):
        session = chance.choice(sessions)
        session.grant(chance.randrange(4), 0)
        spread.count(session)
        if spread.free:
            share_out(spread, chance.randint(1, spread.free))
        assert spread.free == sum(each.credit for each in sessions)
    assert len(spread._heap) <= 2 * len(sessions) + 65
