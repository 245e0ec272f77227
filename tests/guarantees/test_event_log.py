"""The event log of an application, read as outside input."""

import json

import pytest

from mpsd.core.outcome import Delivered, Rejected, Retryable, Unavailable
from mpsd.demo.guarantees import EventLogError, read_events
from mpsd.demo.guarantees.event_log import outcome_of
from mpsd.demo.guarantees.events import DeliveryEnded, DeliveryStarted, OutageBegan, OutageEnded


def line(event: str, at_s: float = 1.0, **fields: object) -> str:
    where = {"topic": "orders", "partition": 3, "offset": 17, "key": "a%20b"} if event.startswith("delivery") else {}
    return json.dumps({"event": event, "at_s": at_s, **where, **fields})


def test_a_delivery_is_read_with_its_key_as_bytes() -> None:
    started, ended = read_events([line("delivery_started", attempt=2), line("delivery_ended", 2.5, answer=200)])
    assert isinstance(started, DeliveryStarted)
    assert isinstance(ended, DeliveryEnded)
    assert started.attempt == 2
    assert (started.record.topic, started.record.partition, started.record.offset) == ("orders", 3, 17)
    assert started.record.key == b"a b"
    assert ended.at_s == 2.5
    assert isinstance(ended.outcome, Delivered)


def test_no_key_is_not_the_empty_key() -> None:
    none, empty = read_events(line("delivery_started", attempt=1, key=key) for key in (None, ""))
    assert isinstance(none, DeliveryStarted)
    assert isinstance(empty, DeliveryStarted)
    assert none.record.key is None
    assert empty.record.key == b""


def test_an_outage_has_two_ends() -> None:
    assert list(read_events([line("outage_began", 1), line("outage_ended", 3)])) == [OutageBegan(1), OutageEnded(3)]


def test_a_new_application_ends_what_the_old_one_left_open() -> None:
    _, lost = read_events([line("delivery_started", attempt=1), line("application_started", 9.0)])
    assert isinstance(lost, DeliveryEnded)
    assert isinstance(lost.outcome, Retryable)
    assert lost.outcome.lost
    assert lost.at_s == 9.0


def test_a_last_line_cut_short_by_a_kill_is_left_out() -> None:
    assert len(list(read_events([line("delivery_started", attempt=1), '{"event": "deliv']))) == 1


@pytest.mark.parametrize(
    "wrong", [line("coffee"), line("delivery_started"), "[]", "{}", line("delivery_ended", answer="no")]
)
def test_a_line_that_makes_no_sense_is_named(wrong: str) -> None:
    with pytest.raises(EventLogError, match="line 2"):
        list(read_events([line("outage_began"), wrong]))


def test_a_broken_line_in_the_middle_is_named() -> None:
    with pytest.raises(EventLogError, match="line 1"):
        list(read_events(["{", line("outage_began")]))


@pytest.mark.parametrize(
    ("meaning", "answers"),
    [
        (Delivered, [200, 202, 204]),
        (Retryable, [408, 425, 500, 501, 505, 507]),
        (Rejected, [400, 409, 413, 418, 422]),
        (Unavailable, [301, 401, 404, 429, 502, 503, 504]),
    ],
)
def test_answers_mean_what_the_contract_says(meaning: type, answers: list[int]) -> None:
    for answer in answers:
        assert isinstance(outcome_of(answer, ""), meaning)
