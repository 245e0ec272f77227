"""The daemons that left a group lately, and when."""

from collections.abc import Collection, Mapping

from typing_extensions import override

KEPT_MS = 3_600_000
DEPARTURES_MAX = 100
"""Most departures that are kept: of a fleet whose members come and go all the time, the latest."""


class Departures:
    """Remembers who was a member and is none.

    Takes: the addresses of the members, with each rebalance.
    Gives: who left within `KEPT_MS`, and when that was seen; whoever is back has not left.
    Holds at most: the present members and `DEPARTURES_MAX` that left.
    """

    def __init__(self) -> None:
        self._present: frozenset[str] = frozenset()
        self._left: dict[str, int] = {}

    def see(self, members: Collection[str], now_ms: int) -> None:
        """Take note of the members as of now; an empty address is nobody's."""
        present = frozenset(filter(None, members))
        for address in sorted(self._present - present):
            self._left.pop(address, None)
            self._left[address] = now_ms
        for address in present:
            self._left.pop(address, None)
        while len(self._left) > DEPARTURES_MAX:
            del self._left[next(iter(self._left))]
        self._present = present

    def since(self, now_ms: int) -> Mapping[str, int]:
        """Return when each left, by address, the earliest first."""
        self._left = {address: at_ms for address, at_ms in self._left.items() if now_ms - at_ms < KEPT_MS}
        return dict(self._left)

    @override
    def __repr__(self) -> str:
        return f"<Departures present={len(self._present)} left={len(self._left)}>"
