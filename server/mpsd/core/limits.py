"""Limits that operators set on a subscription while it runs; they stand in for the configured ones until taken back."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from mpsd.core.control import Entity, EntityKey, Provenance

KIND = "limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A subscription's limits; None: as configured.

    Attributes:
        rate_max_per_s: deliveries in each second, a fleet total; 0: none.
        concurrency_max: deliveries at once, of each daemon, 1 or more; never above what is configured.
        revision: offset of its control record.
    """

    rate_max_per_s: float | None
    concurrency_max: int | None
    revision: int
    provenance: Provenance


def entity_key(group: str, subscription: str) -> EntityKey:
    return (group, KIND, subscription)


def document(rate_max_per_s: float | None, concurrency_max: int | None) -> dict[str, Any]:
    """Return the document of a limit's control record."""
    return {"rate_max_per_s": rate_max_per_s, "concurrency_max": concurrency_max}


def parse(entity: Entity) -> Limit | None:
    """Return the limit of an entity; None for a document that is no limit, which a foreign record may be."""
    rate, concurrency = entity.document.get("rate_max_per_s"), entity.document.get("concurrency_max")
    if rate is not None and (type(rate) not in {int, float} or not isfinite(rate) or rate < 0):
        return None
    if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
        return None
    return Limit(
        rate_max_per_s=rate, concurrency_max=concurrency, revision=entity.revision, provenance=entity.provenance
    )
