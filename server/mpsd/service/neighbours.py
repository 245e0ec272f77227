"""Members that the others cannot reach, said in the log when a rebalance shows them."""

import logging
from collections.abc import Callable, Iterable

from mpsd.listeners.reach import faults
from mpsd.ports import Peer

log = logging.getLogger("mpsd.service")


class Neighbours:
    """Looks at the members of all groups of this daemon, and says once what is wrong with their addresses.

    Args:
        members: all of them as of now, this daemon among them.
    """

    def __init__(self, members: Callable[[], Iterable[Peer]]) -> None:
        self._members = members
        self._said: frozenset[str] = frozenset()

    def look(self) -> None:
        """Log what was not wrong before, and that nothing is any more."""
        found = frozenset(faults(frozenset(self._members())).values())
        for fault in sorted(found - self._said):
            log.error("%s; until then no change is confirmed", fault, extra={"code": "fleet.unreachable"})
        if self._said and not found:
            log.info("every daemon can be reached; changes are confirmed again", extra={"code": "fleet.reachable"})
        self._said = found
