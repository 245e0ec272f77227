"""The control record that keeps the brake of a subscription over restarts, and for all of its daemons.

engaged    more than `breaker.rejections_max` records in a row were rejected: dead-lettering of rejections has stopped
accepted   an operator accepts the rejections: they are dead-lettered until a delivery succeeds
released   a delivery has succeeded since
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from mpsd.core.control import NOBODY, Kind, OfSubscription, Provenance


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
    since_ms: Annotated[int, 0]
    at_ms: Annotated[int, 0]
    rejections: Annotated[int, 0] = 0
    reason: str = ""
    writer: Annotated[int, 0] = 0
    revision: int = -1
    provenance: Provenance = NOBODY


BRAKE = Kind(name="brake", key=OfSubscription, value=BrakeRecord)
