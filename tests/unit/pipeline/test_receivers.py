"""Applications that come for records by themselves: whether they do, and what is said if they do not."""

import logging

import pytest
from typing_extensions import override

from mpsd.core.states import DeliveryState
from mpsd.pipeline.receivers import Receivers
from mpsd.ports import AdapterStatistics, Demand
from tests.fakes.adapter import FakeAdapter


class Comings(FakeAdapter):
    """An adapter that callers ask."""

    asked = 0
    wanted = 0

    @override
    def demand(self) -> Demand:
        return Demand(self.wanted, 1_000)

    @override
    def statistics(self) -> AdapterStatistics:
        return AdapterStatistics({}, asked=self.asked)


class Watched:
    """Receivers of one subscription, and all that they look at."""

    def __init__(self, protocol: str = "pull", bound_s: float = 60.0) -> None:
        self.now_s = 0.0
        self.adapter = Comings()
        self.owned = ["orders/0"]
        self.in_flight = 0
        self.receivers = Receivers(
            "billing", protocol, bound_s, self.adapter, self.owned, lambda: self.in_flight, lambda: self.now_s
        )

    def later(self, seconds: int) -> DeliveryState:
        """Look once a second."""
        for _ in range(seconds):
            self.now_s += 1
            self.receivers.look()
        return self.receivers.situation().state


@pytest.mark.parametrize(
    ("protocol", "words"),
    [("pull", "nobody has asked for records for 60 s"), ("stream", "no stream with credit has been")],
)
def test_nobody_for_the_bound_is_said_once_and_so_is_the_first_one_back(
    protocol: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watched = Watched(protocol)
    assert watched.later(59) is DeliveryState.RUNNING
    assert not caplog.records
    assert watched.later(600) is DeliveryState.NO_RECEIVER
    (line,) = caplog.records
    assert (line.levelno, vars(line)["code"]) == (logging.WARNING, "receiver.missing")
    assert line.getMessage().startswith(f"billing: nobody receives: {words}")
    assert "659 s" in watched.receivers.situation().reason
    watched.adapter.wanted = 1
    assert watched.later(1) is DeliveryState.RUNNING
    assert watched.receivers.gap_s == 0.0
    (_, line) = caplog.records
    assert (line.levelno, vars(line)["code"]) == (logging.INFO, "receiver.back")
    assert "after 660 s" in line.getMessage()
    watched.adapter.wanted = 0
    assert watched.later(59) is DeliveryState.RUNNING
    assert watched.later(1) is DeliveryState.NO_RECEIVER


def test_who_holds_records_receives() -> None:
    watched = Watched()
    watched.in_flight = 1
    assert watched.later(600) is DeliveryState.RUNNING


def test_who_asks_now_and_then_receives_though_nobody_waits_at_any_look() -> None:
    watched = Watched()
    for _ in range(20):
        assert watched.later(50) is DeliveryState.RUNNING
        watched.adapter.asked += 1
    assert watched.later(61) is DeliveryState.NO_RECEIVER


def test_without_partitions_there_is_nothing_to_receive() -> None:
    watched = Watched()
    watched.owned.clear()
    assert watched.later(600) is DeliveryState.RUNNING
    watched.owned.append("orders/0")
    assert watched.later(59) is DeliveryState.RUNNING
    assert watched.later(1) is DeliveryState.NO_RECEIVER
    watched.owned.clear()
    assert watched.later(1) is DeliveryState.RUNNING


def test_a_bound_of_zero_is_none() -> None:
    assert Watched(bound_s=0.0).later(10_000) is DeliveryState.RUNNING
