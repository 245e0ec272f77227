"""States as findings."""

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.checkup import explained_by, state_findings


def status(state: str, severity: pb.Severity.ValueType, reason: str = "") -> pb.Status:
    said = pb.SubscriptionStatus(name="billing", state=state, state_severity=severity, state_reason=reason)
    return pb.Status(subscriptions=[said])


def test_what_runs_is_no_finding() -> None:
    assert list(state_findings(status("running", pb.SEVERITY_OK), ())) == []


def test_a_state_is_said_in_the_words_of_the_status() -> None:
    blocked = status("dlq-blocked", pb.SEVERITY_ERROR, "orders/0: the dead-letter topic cannot be written")
    (found,) = state_findings(blocked, ())
    assert (found.severity, found.subject) == (pb.SEVERITY_ERROR, "billing")
    assert found.message == "dlq-blocked: orders/0: the dead-letter topic cannot be written"
    assert found.advice
    (full,) = state_findings(status("blocked-keys-full", pb.SEVERITY_ERROR), ())
    assert full.message == "blocked-keys-full"
    assert "mpsctl dlq ls billing " in full.advice


def test_an_endpoint_that_is_explained_better_is_left_to_that() -> None:
    out = status("endpoint-out", pb.SEVERITY_ERROR, "refused")
    better = [pb.Finding(subject="billing", code="endpoint.out"), pb.Finding(subject="audit", code="blocked_key.full")]
    assert list(state_findings(out, explained_by(better))) == []
    assert len(list(state_findings(out, explained_by(better[1:])))) == 1
    assert len(list(state_findings(status("paused", pb.SEVERITY_WARNING), explained_by(better)))) == 1
