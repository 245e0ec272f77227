"""The demo's checks, over event logs that are right and over some that were doctored."""

import json
from dataclasses import replace

import pytest

from mpsd.core.record import TopicPartition
from mpsd.demo.checks import Check, Evidence, Findings, find
from mpsd.demo.guarantees import EventLogError
from mpsd.demo.guarantees.events import Committed, SeenRecord
from mpsd.demo.summary import as_json, as_lines, figures_of

ORDERS = TopicPartition("orders", 0)


def line(event: str, at_s: float, offset: int, **fields: object) -> str:
    return json.dumps(
        {"event": event, "at_s": at_s, "topic": "orders", "partition": 0, "offset": offset, "key": f"k{offset % 2}"}
        | fields
    )


def dead_letter(
    offset: int, at_s: float, disposition: bytes = b"rejected", reason: bytes = b"422: too cheap"
) -> SeenRecord:
    headers = [
        ("__dlq.errors.topic", b"orders"),
        ("__dlq.errors.partition", b"0"),
        ("__dlq.errors.offset", str(offset).encode()),
        ("mps-dlq-disposition", disposition),
        ("mps-dlq-reason", reason),
    ]
    return SeenRecord("orders.dlq", 0, 7, f"k{offset % 2}".encode(), timestamp=round(at_s * 1000), headers=headers)


LOG = (
    json.dumps({"event": "application_started", "at_s": 0.5}),
    line("delivery_started", 1.0, 0, attempt=1),
    line("delivery_started", 1.1, 1, attempt=1),
    line("delivery_ended", 1.2, 0, answer=200),
    line("delivery_ended", 1.3, 1, answer=500),
    line("delivery_started", 1.4, 1, attempt=2),
    line("delivery_ended", 1.5, 1, answer=500),
    json.dumps({"event": "outage_began", "at_s": 2.0}),
    json.dumps({"event": "outage_ended", "at_s": 4.0}),
    line("delivery_started", 4.1, 1, attempt=3),
    line("delivery_started", 4.2, 2, attempt=1),
    line("delivery_ended", 4.3, 1, answer=200),
    line("delivery_ended", 4.4, 2, answer=422, reason="too cheap"),
)
EVIDENCE = Evidence(
    produced=[SeenRecord("orders", 0, offset, f"k{offset % 2}".encode()) for offset in range(3)],
    poison=1,
    flaky=1,
    event_log=LOG,
    dead_letters=[dead_letter(2, 1_000_004.5)],
    commits=[Committed(ORDERS, 1, 1.6), Committed(ORDERS, 3, 5.0)],
    log_end={ORDERS: 3},
    clean_stop=True,
    wall_clock_s=1_000_000.0,
)


def broken(evidence: Evidence) -> set[str]:
    return {check.guarantee for check in find(evidence).checks if check.fault}


def test_a_run_as_it_should_be() -> None:
    findings = find(EVIDENCE)
    assert findings.hold, [check for check in findings.checks if check.fault]
    assert (findings.produced, findings.accepted, findings.dead_lettered, findings.retried) == (3, 2, 1, 2)
    assert findings.outage_s == 2.0
    assert findings.delivering_s == pytest.approx(3.4)


@pytest.mark.parametrize(
    ("guarantee", "log"),
    [
        ("EveryRecordSettled", [entry for entry in LOG if '"offset": 0' not in entry]),
        ("OneInFlightPerKey", [entry for entry in LOG if '"at_s": 1.2' not in entry]),
        ("BoundedRepetition", [*LOG, LOG[1], LOG[3]]),
        ("OutageSpendsNoAttempts", [entry.replace('"attempt": 3', '"attempt": 5') for entry in LOG]),
        ("AttemptsSurvive", [entry.replace('"attempt": 3', '"attempt": 1') for entry in LOG]),
        ("DeadLetterSaysWhy", [entry.replace("422", "200") for entry in LOG]),
        ("StoryTold", [entry for entry in LOG if "outage" not in entry]),
        ("StoryTold", [entry for entry in LOG if "500" not in entry]),
    ],
)
def test_a_doctored_log_is_seen_through(guarantee: str, log: list[str]) -> None:
    assert guarantee in broken(replace(EVIDENCE, event_log=log))


def test_one_after_the_other_is_no_freedom() -> None:
    log = [entry for entry in LOG if '"offset": 1' in entry]
    assert "FreedomIsUsed" in broken(replace(EVIDENCE, event_log=log))


def test_a_swapped_pair_is_out_of_order() -> None:
    log = [line("delivery_ended", 1.0 + number, offset, answer=200) for number, offset in enumerate((4, 2, 0))]
    assert "KeyOrder" in broken(replace(EVIDENCE, event_log=log))


def test_a_missing_dead_letter_is_a_loss() -> None:
    assert broken(replace(EVIDENCE, dead_letters=[])) >= {"EveryRecordSettled", "DeadLetterSaysWhy", "StoryTold"}


def test_a_dead_letter_of_nothing_known_does_not_count() -> None:
    stranger = dead_letter(2, 1_000_004.5)._replace(headers=[])
    assert broken(replace(EVIDENCE, dead_letters=[stranger])) >= {"EveryRecordSettled", "DeadLetterSaysWhy"}


def test_a_commit_before_the_dead_letter_is_too_early() -> None:
    assert broken(replace(EVIDENCE, dead_letters=[dead_letter(2, 1_000_005.5)])) == {"CommitNeverPassesUnfinished"}


def test_a_commit_that_stays_behind_is_lag() -> None:
    assert broken(replace(EVIDENCE, commits=EVIDENCE.commits[:1])) == {"LagReachesZero"}


def test_a_daemon_that_does_not_end_is_no_success() -> None:
    assert broken(replace(EVIDENCE, clean_stop=False)) == {"CleanStop"}
    assert not broken(replace(EVIDENCE, clean_stop=None))


def test_a_run_of_nothing_is_no_success() -> None:
    nothing = replace(EVIDENCE, event_log=[], dead_letters=[], commits=[])
    assert broken(nothing) >= {"EveryRecordSettled", "LagReachesZero", "FreedomIsUsed", "StoryTold"}


def test_a_log_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(EventLogError):
        find(replace(EVIDENCE, event_log=["nonsense", *LOG]))


FINDINGS = Findings(
    checks=[Check("KeyOrder", "in order", ""), Check("LagReachesZero", "lag zero", "orders/0 lags")],
    produced=20_000,
    accepted=19_980,
    dead_lettered=20,
    retried=100,
    delivering_s=5.0,
    outage_s=2.0,
)


def test_the_summary_names_what_is_broken() -> None:
    assert as_lines(FINDINGS, 8.0) == (
        "20,000 records: 19,980 accepted, 20 dead-lettered, 100 retries\n"
        "5.0 s of deliveries with 2.0 s of outage (4,000/s), 8.0 s in all\n"
        "  holds   in order\n"
        "  BROKEN  lag zero\n"
        "          LagReachesZero: orders/0 lags"
    )


def test_the_summary_as_json() -> None:
    said = json.loads(as_json(FINDINGS, 8.04))
    assert said["hold"] is False
    assert said["accepted"] == 19_980
    assert said["checks"][1] == {"guarantee": "LagReachesZero", "promise": "lag zero", "fault": "orders/0 lags"}


def test_figures_fit_a_terminal() -> None:
    assert max(len(each) for each in figures_of(FINDINGS, 8.0).splitlines()) <= 80
