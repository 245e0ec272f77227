from mpsd.core.dead_letter import REASON_CHARACTERS_MAX, Sender, headers
from mpsd.core.delivery import Delivery, FailureHistory, Replayed, ReplayedDelivery
from mpsd.core.incarnation import Incarnation
from mpsd.core.outcome import Outcome, Retryable
from mpsd.core.retry import DeadLetterRequest, Disposition
from tests.fakes.records import PRODUCED_MS, TOO_WIDE, Row, assigned, delivery

SENDER = Sender(subscription="billing", group="billing-group", endpoint="http://billing:8000/orders")
REQUEST = DeadLetterRequest(disposition=Disposition.ATTEMPTS_EXHAUSTED, reason="failed")


def failed_before(last: Outcome | None) -> Delivery:
    assignment = assigned(3)
    assignment.identify(Incarnation(bytes(range(16))))
    made = delivery(1842, b"a", assignment)
    made.failures = FailureHistory(attempts=5, last=last, first_failed_at_ms=1000, last_failed_at_ms=2000)
    return made


def test_a_dead_letter_says_where_it_came_from_what_was_tried_and_why_it_is_here() -> None:
    last = Retryable(code="status_500", reason="failed", status=500, excerpt=b"<h1>oops</h1>")
    assert headers(failed_before(last), REQUEST, SENDER) == [
        ("__dlq.errors.topic", b"orders"),
        ("__dlq.errors.partition", b"3"),
        ("__dlq.errors.offset", b"1842"),
        ("__dlq.errors.group", b"billing-group"),
        ("__dlq.errors.delivery.count", b"5"),
        ("__dlq.errors.message", b"failed"),
        ("mps-dlq-subscription", b"billing"),
        ("mps-dlq-disposition", b"attempts-exhausted"),
        ("mps-dlq-status", b"500"),
        ("mps-dlq-reason", b"failed"),
        ("mps-dlq-timestamp", str(PRODUCED_MS).encode()),
        ("mps-dlq-record-id", b"AAECAwQFBgcICQoLDA0ODw/3/1842"),
        ("mps-dlq-first-failed-at", b"1000"),
        ("mps-dlq-last-failed-at", b"2000"),
        ("mps-dlq-endpoint", b"http://billing:8000/orders"),
        ("mps-dlq-replays", b"0"),
        ("mps-dlq-excerpt", b"<h1>oops</h1>"),
    ]


def test_one_that_was_never_delivered_says_so_and_has_no_times_of_failure() -> None:
    said = dict(headers(delivery(), DeadLetterRequest(disposition=Disposition.EXPIRED, reason="too old"), SENDER))
    assert said["__dlq.errors.delivery.count"] == b"0"
    assert not said.keys() & {
        "mps-dlq-status", "mps-dlq-excerpt", "mps-dlq-first-failed-at", "mps-dlq-last-failed-at"
    }  # fmt: skip


def test_without_an_answer_there_is_no_status() -> None:
    for last in (None, TOO_WIDE, Retryable(code="timeout", reason="", lost=True)):
        assert not dict(headers(failed_before(last), REQUEST, SENDER)).keys() & {"mps-dlq-status", "mps-dlq-excerpt"}


def test_a_long_reason_is_cut() -> None:
    said = dict(headers(delivery(), DeadLetterRequest(disposition=Disposition.REJECTED, reason="é" * 5000), SENDER))
    assert said["mps-dlq-reason"].decode() == "é" * REASON_CHARACTERS_MAX


def test_one_that_a_replay_brought_back_counts_one_more() -> None:
    row = Row(offset=1842)
    brought = ReplayedDelivery(
        row,
        assigned(),
        b"a",
        1,
        0.0,
        Replayed(replay="r1", replays=1, dead_letter_offset=7, on_finished=lambda _: None),
    )
    assert dict(headers(brought, REQUEST, SENDER))["mps-dlq-replays"] == b"2"
    assert not brought.is_dead_again


def test_one_that_a_replay_wrote_to_its_topic_says_itself_how_often() -> None:
    for value, count in ((b"2", b"2"), (b"nonsense", b"0"), (None, b"0"), (b"9" * 10, b"0")):
        made = Delivery(Row(headers=[("mps-replays", b"9"), ("mps-replays", value)]), assigned(), b"a", 1)
        assert dict(headers(made, REQUEST, SENDER))["mps-dlq-replays"] == count
