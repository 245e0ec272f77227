"""Settings that differ, and findings that do not."""

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.checkup import SETTINGS_SHOWN_MAX, drift, group_findings

BILLING = {"subscriptions.billing.name": '"billing"', "subscriptions.billing.retry.attempts_max": "5"}


def test_daemons_that_are_configured_alike_have_no_finding() -> None:
    assert drift({}) == []
    assert drift({"a": BILLING}) == []
    assert drift({"a": BILLING, "b": dict(BILLING), "c": dict(BILLING)}) == []


def test_each_value_is_named_with_who_has_it() -> None:
    other = {**BILLING, "subscriptions.billing.retry.attempts_max": "7"}
    (found,) = drift({"b": BILLING, "c": other, "a": BILLING})
    assert found.message == (
        "daemons are configured differently: subscriptions.billing.retry.attempts_max is 5 at a, b and 7 at c"
    )
    assert list(found.instances) == ["a", "b", "c"]


def test_what_is_not_set_is_a_value_too() -> None:
    (found,) = drift({"a": {"admin.peers_ca": '"ca.pem"'}, "b": {}})
    assert found.message.endswith('admin.peers_ca is "ca.pem" at a and not set at b')


def test_a_subscription_is_compared_among_those_that_run_it() -> None:
    assert drift({"a": BILLING, "b": {}}) == []


def test_of_very_many_the_first_are_named() -> None:
    many = {f"limits.x{number:02}": "1" for number in range(SETTINGS_SHOWN_MAX + 3)}
    (found,) = drift({"a": many, "b": dict.fromkeys(many, "2")})
    assert found.message.endswith("limits.x09 is 1 at a and 2 at b; and 3 more")


def test_findings_alike_are_one_with_all_who_found_them() -> None:
    def finding(address: str, message: str = "down") -> pb.Finding:
        return pb.Finding(severity=pb.SEVERITY_ERROR, subject="kafka", message=message, instances=[address])

    found = group_findings([finding("b"), finding("a"), finding("c", "else"), finding("b")])
    assert [(each.message, list(each.instances)) for each in found] == [("down", ["a", "b"]), ("else", ["c"])]
