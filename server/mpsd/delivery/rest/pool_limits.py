"""The bounds of a pool of connections."""

from dataclasses import dataclass

from mpsd.delivery.rest.answer_reader import AnswerBounds


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
