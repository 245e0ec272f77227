"""States, from and to the wire: a word and its severity."""

from collections.abc import Mapping

from mps.admin.v1 import admin_pb2 as pb
from mpsd.core.states import DeliveryState, Severity

SEVERITIES: Mapping[Severity, pb.Severity.ValueType] = {
    Severity.OK: pb.SEVERITY_OK,
    Severity.WARNING: pb.SEVERITY_WARNING,
    Severity.ERROR: pb.SEVERITY_ERROR,
}
_BY_WORD: Mapping[str, DeliveryState] = {state.value: state for state in DeliveryState}


def state_of(word: str) -> DeliveryState:
    """Return the state that another daemon names; unknown where it is of a later version."""
    return _BY_WORD.get(word, DeliveryState.UNKNOWN)
