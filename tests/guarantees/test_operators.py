"""Promises to operators, shown to hold and to break."""

import pytest

from mpsd.core.delivery import Assignment
from mpsd.core.pauses import PAUSE, Scope
from mpsd.core.record import TopicPartition
from mpsd.core.resets import AGE_MAX_MS, Target
from mpsd.demo.guarantees.events import SeenRecord
from tests.simulation.lives import Begun
from tests.simulation.promises import (
    ControlReadFirst,
    MatchedDeadLettersReplayed,
    NothingAgainstAPause,
    ResetsApplied,
    WrittenDeadLetter,
)

ORDERS, REFUNDS = TopicPartition("orders", 0), TopicPartition("refunds", 0)
RECORD = SeenRecord("orders", 0, 7, b"a")


@pytest.mark.parametrize(
    ("scope", "breaks"),
    [
        (Scope("billing"), True),
        (Scope("billing", "orders"), True),
        (Scope("billing", "orders", 0, b"a"), True),
        (Scope("billing", "orders", 1), False),
        (Scope("billing", key=b"b"), False),
    ],
)
def test_what_is_paused_is_not_sent(scope: Scope, breaks: bool) -> None:
    guarantee, key = NothingAgainstAPause(), PAUSE.entity_key("billing", scope)
    guarantee.on_sent(RECORD, "d0", 1.0)
    assert not guarantee.faults()
    guarantee.confirmed(key, scope, None)
    guarantee.on_sent(RECORD, "d0", 2.0)
    assert bool(guarantee.faults()) is breaks


def test_a_pause_ends_with_the_next_decision_and_with_its_time() -> None:
    guarantee, scope = NothingAgainstAPause(), Scope("billing")
    guarantee.confirmed(PAUSE.entity_key("billing", scope), scope, None)
    guarantee.decided(PAUSE.entity_key("billing", scope))
    guarantee.confirmed(("another",), scope, 1_000)
    guarantee.time_is(1_000)
    guarantee.on_sent(RECORD, "d0", 3.0)
    assert not guarantee.faults()


def test_what_was_decided_before_the_assignment_is_known_before_the_first_delivery() -> None:
    guarantee, assignment = ControlReadFirst(), Assignment(ORDERS, 3)
    guarantee.assigned(assignment, 7)
    guarantee.on_sent(RECORD, assignment, "d0", 7)
    assert not guarantee.faults()
    guarantee.on_sent(RECORD, assignment, "d0", 6)
    assert guarantee.faults()


def resets_of(*applied: tuple[str, int], now_ms: int = 0) -> ResetsApplied:
    """Return the guarantee after resets of which `a` goes to 5 and `b` to 9."""
    guarantee = ResetsApplied()
    guarantee.written("a", 3, {ORDERS: Target(5, 9)}, 0)
    guarantee.written("b", 4, {ORDERS: Target(9, 12)}, 0)
    guarantee.time_is(now_ms)
    for reset_id, offset in applied:
        guarantee.applied(ORDERS, reset_id, offset)
    return guarantee


def test_resets_are_applied_in_order_and_the_last_without_fail() -> None:
    assert not resets_of(("a", 5), ("b", 9)).faults()
    assert not resets_of(("b", 9)).faults()
    assert not resets_of(now_ms=AGE_MAX_MS + 1).faults()
    assert resets_of(("a", 5)).faults()
    assert resets_of(("b", 9), ("a", 5)).faults()
    assert resets_of(("b", 9), ("b", 9)).faults()
    assert resets_of(("b", 8)).faults()
    assert resets_of(("b", 9), ("", 9)).faults()


def test_what_is_delivered_after_a_reset_begins_at_its_target_with_a_new_epoch() -> None:
    guarantee = resets_of(("b", 9))
    guarantee.delivered(RECORD, 4, Begun("b", 7, 3))
    assert not guarantee.faults()
    guarantee.delivered(RECORD, 4, Begun("b", 9, 3))
    assert len(guarantee.faults()) == 1
    guarantee.delivered(RECORD, 3, Begun("b", 7, 3))
    assert len(guarantee.faults()) == 2


def test_a_task_that_is_done_has_replayed_all_that_it_matches() -> None:
    guarantee = MatchedDeadLettersReplayed()
    guarantee.replayed(ORDERS, 1)
    guarantee.done("r0", [WrittenDeadLetter(ORDERS, 1)])
    assert not guarantee.faults()
    guarantee.done("r1", [WrittenDeadLetter(ORDERS, 1), WrittenDeadLetter(REFUNDS, 1)])
    assert len(guarantee.faults()) == 1
    guarantee.unfinished("r2", "running")
    assert len(guarantee.faults()) == 2
