"""The vocabulary of states, and how many become one."""

import re

import pytest

from mpsd.core.states import ALL_WELL, DeliveryState, LaneState, Severity, Situation, summarize, worst

OUT = Situation(DeliveryState.ENDPOINT_OUT, "refused")
PAUSED = Situation(DeliveryState.PAUSED, "an operator")


@pytest.mark.parametrize("state", [*DeliveryState, *LaneState], ids=str)
def test_a_word_is_fit_for_a_label_a_column_and_an_option(state: DeliveryState | LaneState) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", state.value)
    assert state.name == state.value.upper().replace("-", "_")
    assert state.meaning.endswith(".")


def test_what_needs_somebody_is_worse_than_what_does_not() -> None:
    severities = [state.severity for state in DeliveryState]
    assert severities == sorted(severities, key=list(Severity).index)


def test_only_running_has_no_reason() -> None:
    assert [state for state in DeliveryState if not state.reason] == [DeliveryState.RUNNING]


def test_the_worst_of_none_is_well() -> None:
    assert worst([]) == ALL_WELL


def test_the_first_of_several_alike_is_named() -> None:
    assert worst([ALL_WELL, PAUSED, OUT, Situation(DeliveryState.ENDPOINT_OUT, "later")]) == OUT


@pytest.mark.parametrize(
    ("own", "partitions", "expected"),
    [
        ([ALL_WELL], [], ALL_WELL),
        ([OUT, ALL_WELL], [("orders/0", PAUSED)], OUT),
        ([PAUSED], [("orders/0", PAUSED)], PAUSED),
        ([ALL_WELL], [("orders/0", ALL_WELL), ("orders/1", PAUSED)], PAUSED._replace(reason="orders/1: an operator")),
        (
            [PAUSED],
            [("orders/1", OUT), ("orders/2", PAUSED), ("orders/3", OUT), ("orders/4", OUT)],
            OUT._replace(reason="orders/1 and 2 more: refused"),
        ),
        ([ALL_WELL], [("orders/1", Situation(DeliveryState.FAILED))], Situation(DeliveryState.FAILED)),
    ],
)
def test_a_subscription_is_as_bad_as_the_worst_of_it(
    own: list[Situation], partitions: list[tuple[str, Situation]], expected: Situation
) -> None:
    assert summarize(own, partitions) == expected
