"""What a pool of connections is told: its bounds, and how to make requests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from mpsd.core.delivery import Assignment
from mpsd.delivery.rest.answer_reader import AnswerBounds
from mpsd.delivery.rest.connection import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Bounds of a pool; all times in seconds."""

    connections_max: int
    head_bytes_max: int
    bounds: AnswerBounds
    timeout_s: float
    connect_timeout_s: float
    age_max_s: float
    idle_max_s: float

    @property
    def sweep_s(self) -> float:
        """A twentieth of the shortest time to be watched, so that none is exceeded by much; never a busy loop."""
        return min(max(min(self.timeout_s, self.age_max_s, self.idle_max_s) / 20, 0.005), 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests(Generic[Item]):
    """How an item becomes a request.

    Attributes:
        head: everything before the body.
        body: asked for right after the head.
        concerns: whether the item holds anything of an assignment.
    """

    head: Callable[[Item], bytes]
    body: Callable[[Item], bytes | None]
    concerns: Callable[[Item, Assignment], bool]
