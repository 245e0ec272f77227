"""The report on each record, and its width."""

import io

from mpsd.core.outcome import DELIVERED, Retryable, Unavailable
from mpsd.devtools.dev_report import Attempt, Fate, attempt_line, summary, write_table

REFUSED = Unavailable(code="refused", reason="127.0.0.1 port 8000 refused the connection")
FAILED = Retryable(code="status_500", reason="answered 500")


def fate(line: int, *, key: bytes | None = b"k", disposition: str = "", attempts: int = 1) -> Fate:
    made = Fate(line=line, partition=0, offset=line, key=key, disposition=disposition, reason="answered 422")
    for number in range(1, attempts + 1):
        failed = Retryable(code="status_500", reason="answered 500: " + "x" * 100)
        made.attempts.append(Attempt(number=number, outcome=DELIVERED if number == attempts else failed, took_s=0.012))
    return made


def test_the_table_fits_eighty_columns_and_names_what_went_wrong() -> None:
    out = io.StringIO()
    fates = [fate(1), fate(2, disposition="rejected"), fate(3, attempts=3), fate(4, attempts=0, key=None)]
    fates[3].attempts.append(
        Attempt(number=1, outcome=Retryable(code="x", reason="answered 500: " + "y" * 200), took_s=1.0)
    )
    write_table(fates, out)
    shown = out.getvalue()
    assert all(len(line) <= 80 for line in shown.splitlines()[:-1])
    assert "\x1b" not in shown
    assert "rejected: answered 422" in shown
    assert "4 records: 2 accepted, 1 dead letters, 1 not settled; 1 took more than one attempt" in shown


def test_many_that_went_well_are_counted_together() -> None:
    out = io.StringIO()
    fates = [fate(line) for line in range(1, 100)] + [fate(100, disposition="rejected")]
    write_table(fates, out)
    assert "99 records were accepted at once and are not listed" in out.getvalue()
    assert len(out.getvalue().splitlines()) < 10
    assert summary(fates).startswith("100 records: 99 accepted, 1 dead letters")


def test_a_key_never_harms_the_terminal() -> None:
    shown = fate(1, key=b"\x00\x1b[31m\xff" + b"k" * 100)
    assert shown.shown_key.isprintable()
    assert len(shown.shown_key) == 20
    assert attempt_line(shown, shown.attempts[0]).endswith("attempt 1  12 ms  accepted")


def test_a_delivery_that_cost_nothing_is_no_attempt_more() -> None:
    waited = fate(1, attempts=0)
    for number, outcome in ((1, REFUSED), (1, REFUSED), (1, FAILED), (2, DELIVERED)):
        waited.attempts.append(Attempt(number=number, outcome=outcome, took_s=0.01))
    at_once = fate(2, attempts=0)
    for outcome in (REFUSED, DELIVERED):
        at_once.attempts.append(Attempt(number=1, outcome=outcome, took_s=0.01))
    assert (waited.attempts_counted, waited.shown_attempts) == (2, "2 (4 deliveries)")
    assert (at_once.attempts_counted, at_once.shown_attempts) == (1, "1 (2 deliveries)")
    assert summary([waited, at_once, fate(3)]).endswith("; 1 took more than one attempt")
    assert (waited.as_json()["attempts_counted"], len(waited.as_json()["attempts"])) == (2, 4)
    assert fate(4, attempts=0).shown_attempts == "0"


def test_programs_get_every_attempt() -> None:
    said = fate(3, attempts=2).as_json()
    assert (said["state"], said["record"], said["key"]) == ("accepted", 3, "k")
    assert [attempt["outcome"] for attempt in said["attempts"]] == ["status_500", "delivered"]
