"""Limits that operators set on a subscription while it runs; they stand in for the configured ones until taken back."""

from dataclasses import dataclass
from typing import Annotated

from mpsd.core.control import NOBODY, Kind, OfSubscription, Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A subscription's limits; None: as configured.

    Attributes:
        rate_max_per_s: deliveries in each second, a fleet total; 0: none.
        concurrency_max: deliveries at once, of each daemon, 1 or more; never above what is configured.
        revision: offset of its control record.
    """

    rate_max_per_s: Annotated[float, 0] | None
    concurrency_max: Annotated[int, 1] | None
    revision: int = -1
    provenance: Provenance = NOBODY


LIMIT = Kind(name="limit", key=OfSubscription, value=Limit)
