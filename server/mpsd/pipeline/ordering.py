"""Name the lanes: records of one lane must not overtake each other."""

from dataclasses import dataclass
from typing import Literal

from mpsd.core.delivery import Lane

NULL_KEY_LANE = "null key"
PARTITION_LANE = "partition"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """The rule that forms lanes."""

    by: Literal["key", "partition", "none"] = "key"
    null_key: Literal["none", "partition"] = "none"

    def lane(self, key: bytes | None) -> Lane:
        """Return the lane of a record, within its partition."""
        match self.by:
            case "none":
                return None
            case "partition":
                return PARTITION_LANE
            case "key":
                return key if key is not None else NULL_KEY_LANE if self.null_key == "partition" else None
