from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.dead_letter import Sender, headers
from mpsd.core.dead_letter_record import (
    EVERY_DEAD_LETTER,
    DeadLetterFilter,
    DeadLetterRecord,
    Foreign,
    Omitted,
    parse,
    source_of,
)
from mpsd.core.delivery import FailureHistory
from mpsd.core.record import Record, TopicPartition
from mpsd.core.retry import DeadLetterRequest, Disposition
from tests.fakes.records import POISON, PRODUCED_MS, Row, assigned, delivery

SENDER = Sender(subscription="billing", group="billing-group", endpoint="http://billing:8000/orders")
DEAD_MS = PRODUCED_MS + 5_000
OWN = [("h", b"1"), ("h", None), ("__dlq.errors.topic", b"of an earlier life")]


def written(**changes: Any) -> Row:
    """Return a dead letter as `KafkaDeadLetters` would write it."""
    dead = delivery(1842, b"a", assigned(3))
    dead.failures = FailureHistory(attempts=5, last=POISON, first_failed_at_ms=1000, last_failed_at_ms=2000)
    added = headers(dead, DeadLetterRequest(disposition=Disposition.REJECTED, reason="No such customer"), SENDER)
    row = Row(
        topic="orders.dlq", partition=1, offset=7, timestamp=DEAD_MS, key=b"a", value=b"v", headers=[*OWN, *added]
    )
    return replace(row, **changes)


def dead_letter(record: Record | None = None) -> DeadLetterRecord:
    found = parse(record or written())
    assert isinstance(found, DeadLetterRecord)
    return found


def test_what_was_added_is_read_back_and_what_was_the_record_s_own_stays() -> None:
    found = dead_letter()
    assert (found.tp, found.offset) == (TopicPartition("orders.dlq", 1), 7)
    assert (found.source, found.source_offset) == (TopicPartition("orders", 3), 1842)
    assert (found.group, found.subscription) == ("billing-group", "billing")
    assert (found.disposition, found.status, found.reason) == (Disposition.REJECTED, 422, "No such customer")
    assert (found.attempts, found.replays) == (5, 0)
    assert (found.timestamp, found.dead_lettered_at_ms) == (PRODUCED_MS, DEAD_MS)
    assert (found.first_failed_at_ms, found.last_failed_at_ms) == (1000, 2000)
    assert (found.endpoint, found.excerpt) == (SENDER.endpoint, b"")
    assert (found.key, found.value, found.omitted) == (b"a", b"v", None)
    assert list(found.headers) == OWN


@pytest.mark.parametrize(
    "said",
    [
        [],
        [("trace", b"1")],
        [("__dlq.errors.topic", b"orders")],
        [("__dlq.errors.topic", b""), ("__dlq.errors.partition", b"1"), ("__dlq.errors.offset", b"1")],
        [("__dlq.errors.topic", b"orders"), ("__dlq.errors.partition", b"-1"), ("__dlq.errors.offset", b"1")],
        [("__dlq.errors.topic", b"orders"), ("__dlq.errors.partition", b"1"), ("__dlq.errors.offset", b"1" * 99)],
        [("__dlq.errors.topic", None), ("__dlq.errors.partition", b"1"), ("__dlq.errors.offset", b"1")],
    ],
)
def test_what_does_not_say_where_it_came_from_is_foreign(said: list[tuple[str, bytes | None]]) -> None:
    found = parse(written(headers=said))
    assert isinstance(found, Foreign)
    assert found.why


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["__dlq.errors.topic", "__dlq.errors.partition", "__dlq.errors.offset", "own"]),
        st.sampled_from([None, b"", b"1", b"22", b"orders", b"-1", b"1" * 19]),
    ),
    max_size=8,
)


@given(HEADERS)
def test_its_source_is_the_same_without_the_rest(said: list[tuple[str, bytes | None]]) -> None:
    found, source = parse(written(headers=said)), source_of(written(headers=said))
    if isinstance(found, DeadLetterRecord):
        assert source == found.source
    assert source is not None or isinstance(found, Foreign)
    assert source_of(written(headers=[*said, *written().headers])) == TopicPartition("orders", 3)


def test_what_else_is_missing_or_nonsense_is_left_out() -> None:
    where = [("__dlq.errors.topic", b"orders"), ("__dlq.errors.partition", b"3"), ("__dlq.errors.offset", b"1")]
    bare = dead_letter(written(headers=[*where, ("__dlq.errors.message", b"from a share group")]))
    assert (bare.disposition, bare.status, bare.attempts, bare.replays) == (None, None, 0, 0)
    assert (bare.reason, bare.timestamp, bare.subscription) == ("from a share group", -1, "")
    odd = [*where, ("mps-dlq-disposition", b"eaten"), ("mps-dlq-status", b"4220"), ("mps-dlq-reason", b"\xff")]
    nonsense = dead_letter(written(headers=[*odd, ("mps-dlq-replays", b"1e9"), ("mps-dlq-timestamp", b"-1")]))
    assert (nonsense.disposition, nonsense.status, nonsense.reason) == (None, None, "�")
    assert (nonsense.replays, nonsense.timestamp) == (0, -1)


def test_a_value_that_did_not_fit_is_known_by_its_marker() -> None:
    marker: list[tuple[str, bytes | None]] = [
        ("mps-dlq-value", b"omitted"),
        ("mps-dlq-value-sha256", b"ab"),
        ("mps-dlq-value-bytes", b"1048576"),
        ("mps-dlq-value-source", b"orders/3@1842"),
    ]
    row = written()
    said = dead_letter(replace(row, value=None, headers=[*row.headers, *marker]))
    assert said.omitted == Omitted(sha256="ab", value_bytes=1_048_576, source="orders/3@1842")
    unsure = dead_letter(replace(row, value=None, headers=[*row.headers, ("mps-dlq-value", b"omitted")]))
    assert unsure.omitted == Omitted(sha256="", value_bytes=0, source="")


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (EVERY_DEAD_LETTER, True),
        (DeadLetterFilter(since_ms=DEAD_MS), True),
        (DeadLetterFilter(since_ms=DEAD_MS + 1), False),
        (DeadLetterFilter(until_ms=DEAD_MS + 1), True),
        (DeadLetterFilter(until_ms=DEAD_MS), False),
        (DeadLetterFilter(dispositions=frozenset({Disposition.REJECTED, Disposition.BLOCKED})), True),
        (DeadLetterFilter(dispositions=frozenset({Disposition.BLOCKED})), False),
        (DeadLetterFilter(statuses=frozenset({422})), True),
        (DeadLetterFilter(statuses=frozenset({500})), False),
        (DeadLetterFilter(reason_contains="NO SUCH"), True),
        (DeadLetterFilter(reason_contains="time-out"), False),
        (DeadLetterFilter(topic="orders", partition=3), True),
        (DeadLetterFilter(topic="orders", partition=4), False),
        (DeadLetterFilter(topic="payments"), False),
        (DeadLetterFilter(key=b"a"), True),
        (DeadLetterFilter(key=b""), False),
    ],
)
def test_a_filter_is_true_of_what_all_of_it_is_true_of(wanted: DeadLetterFilter, matches: bool) -> None:
    assert wanted.matches(dead_letter()) is matches


def test_a_filter_for_something_leaves_out_what_says_nothing() -> None:
    where = [("__dlq.errors.topic", b"orders"), ("__dlq.errors.partition", b"3"), ("__dlq.errors.offset", b"1")]
    bare = dead_letter(written(headers=where, key=None))
    assert EVERY_DEAD_LETTER.matches(bare)
    assert not DeadLetterFilter(statuses=frozenset({422})).matches(bare)
    assert not DeadLetterFilter(dispositions=frozenset({Disposition.REJECTED})).matches(bare)
    assert not DeadLetterFilter(key=b"a").matches(bare)
