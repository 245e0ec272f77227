"""The settings of a pipeline."""

from dataclasses import dataclass

from mpsd.config import Ordering
from mpsd.core.dead_letter import Sender
from mpsd.core.offset_map import MapSpace
from mpsd.core.retry import RetryRules
from mpsd.core.retry_policy import PolicyRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a subscription; ranges, defaults and reasons are the configuration's. For `runs_max` see OrderIterator.

    Attributes:
        blocked_keys_max: keys that are blocked behind dead letters; 0: keys go on.
        receiver_timeout_s: how long nobody may come for records; None where they are delivered without.
    """

    name: str
    sender: Sender
    ordering: Ordering
    records_max: int
    bytes_max: int
    rules: PolicyRules
    dead_lettering: RetryRules
    rate_max_per_s: float
    commit_interval_s: float
    map_space: MapSpace
    drain_timeout_s: float
    runs_max: int = 1
    blocked_keys_max: int = 0
    receiver_timeout_s: float | None = None
