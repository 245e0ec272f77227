"""The control record that keeps the brake of a subscription over restarts, and for all of its daemons.

engaged    more than `breaker.rejections_max` records in a row were rejected: dead-lettering of rejections has stopped
accepted   an operator accepts the rejections: they are dead-lettered until a delivery succeeds
released   a delivery has succeeded since
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mpsd.core.control import Entity, EntityKey, Provenance

KIND = "brake"


class BrakeState(StrEnum):
    """The brake's state, which applies to rejections."""

    ENGAGED = "engaged"
    ACCEPTED = "accepted"
    RELEASED = "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrakeRecord:
    """A subscription's brake, as the control topic has it.

    Attributes:
        since_ms: when the rejections began, milliseconds since the epoch.
        at_ms: when the brake engaged, or when the delivery succeeded that released it.
        rejections: records that were dead-lettered in a row before the brake engaged.
        reason: the last rejection, in the application's words where it has some.
        writer: a number of the process that wrote it, so that it knows its own; 0: an operator's.
        revision: offset of the control record.
    """

    state: BrakeState
    since_ms: int
    at_ms: int
    rejections: int
    reason: str
    writer: int
    revision: int
    provenance: Provenance


def entity_key(group: str, subscription: str) -> EntityKey:
    """Return the key of a subscription's brake."""
    return (group, KIND, subscription)


def document(
    state: BrakeState, *, since_ms: int, at_ms: int, rejections: int = 0, reason: str = "", writer: int = 0
) -> dict[str, Any]:
    """Return what the control record of a brake says beside its key."""
    return {
        "state": state.value,
        "since_ms": since_ms,
        "at_ms": at_ms,
        "rejections": rejections,
        "reason": reason,
        "writer": writer,
    }


def parse(entity: Entity) -> BrakeRecord | None:
    """Return the brake that an entity is; None where it says something else, as a foreign record may."""
    said = entity.document
    state, reason = said.get("state"), said.get("reason")
    numbers: list[Any] = [said.get(name) for name in ("since_ms", "at_ms", "rejections", "writer")]
    if state not in {each.value for each in BrakeState} or type(reason) is not str:
        return None
    if any(type(number) is not int or number < 0 for number in numbers):
        return None
    since_ms, at_ms, rejections, writer = numbers
    return BrakeRecord(
        state=BrakeState(state),
        since_ms=since_ms,
        at_ms=at_ms,
        rejections=rejections,
        reason=reason,
        writer=writer,
        revision=entity.revision,
        provenance=entity.provenance,
    )
