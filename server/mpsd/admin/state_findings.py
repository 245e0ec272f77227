"""States that need somebody, as findings in the words that the status has for them."""

from collections.abc import Collection, Iterator, Mapping

from mps.admin.v1 import admin_pb2 as pb
from mpsd.core.states import DeliveryState

ADVICE: Mapping[str, str] = {
    DeliveryState.UNKNOWN: "bring the daemon that has it back, or end it: the others take over from its last commit",
    DeliveryState.DLQ_BLOCKED: "repair the dead-letter topic; the write is tried again by itself",
    DeliveryState.BLOCKED_KEYS_FULL: "replay or skip some blocked keys: mpsctl dlq ls NAME --disposition blocked --group-by key",
    DeliveryState.BLOCKED_KEYS_UNWRITABLE: "repair the control topic; the write is tried again by itself",
    DeliveryState.FAILED: "repair what the reason names, then restart the daemon",
}
"""What to do; of the other states the reason says it, or there is nothing to be done."""


def state_findings(status: pb.Status, explained: Collection[str]) -> Iterator[pb.Finding]:
    """Yield a finding for each subscription that is not running.

    Args:
        explained: subscriptions whose endpoint has a finding of its own, which says more.
    """
    for said in status.subscriptions:
        is_endpoint = said.state in {DeliveryState.ENDPOINT_OUT, DeliveryState.ALL_REJECTED}
        if said.state_severity == pb.SEVERITY_OK or (is_endpoint and said.name in explained):
            continue
        yield pb.Finding(
            severity=said.state_severity,
            subject=said.name,
            message=f"{said.state}: {said.state_reason}" if said.state_reason else said.state,
            advice=ADVICE.get(said.state, "").replace("NAME", said.name),
        )


def explained_by(findings: Collection[pb.Finding]) -> set[str]:
    """Return the subscriptions whose endpoint is the subject of a finding."""
    return {each.subject for each in findings if each.code.startswith("endpoint.")}
