"""Applications that come for records by themselves, and may fail to come: noticed, said once, and said when one is back."""

import asyncio
import logging
from collections.abc import Callable, Sized

from mpsd.core.states import ALL_WELL, DeliveryState, Situation
from mpsd.ports import DeliveryAdapter

log = logging.getLogger("mpsd.pipeline")

LOOK_S = 1.0
"""Rest between two looks; a bound below it is looked at more often."""
WORDS = {
    "stream": "no stream with credit has been open here for {0:.0f} s: start the application, or let it dial this daemon too",
    "pull": "nobody has asked for records for {0:.0f} s: start the application, or see whether its requests are refused",
}


class Receivers:
    """A watch for somebody who receives the records of one subscription.

    Somebody does while there is demand, while records are blocked, or where somebody has asked since the last look. Nobody
    needs to as long as this daemon has no partition.

    Args:
        protocol: `stream` or `pull`.
        bound_s: how long nobody may receive until it is said; 0: it never is.
        owned: the partitions that this daemon has.
        in_flight: how many records are blocked.
    """

    def __init__(
        self,
        name: str,
        protocol: str,
        bound_s: float,
        adapter: DeliveryAdapter,
        owned: Sized,
        in_flight: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:
        self._name = name
        self._words = WORDS.get(protocol, WORDS["pull"])
        self._bound_s = bound_s
        self._adapter = adapter
        self._owned = owned
        self._in_flight = in_flight
        self._now_s = now_s
        self._received_s = now_s()
        self._asked = adapter.statistics().asked
        self._is_missed = False

    async def run(self) -> None:
        """Look again and again; until cancelled."""
        while True:
            await asyncio.sleep(min(LOOK_S, self._bound_s / 4) if self._bound_s else LOOK_S)
            self.look()

    def look(self) -> None:
        """Notice whether somebody receives now, and log the change."""
        if self._is_received():
            gap_s, self._received_s = self.gap_s, self._now_s()
            if self._is_missed:
                extra = {"code": "receiver.back", "subscription": self._name}
                log.info("%s: records are taken again, after %.0f s; deliveries go on", self._name, gap_s, extra=extra)
            self._is_missed = False
        elif not self._is_missed and self._bound_s and self.gap_s >= self._bound_s:
            self._is_missed = True
            extra = {"code": "receiver.missing", "subscription": self._name}
            log.warning(
                "%s: nobody receives: %s; records wait", self._name, self._words.format(self.gap_s), extra=extra
            )

    @property
    def gap_s(self) -> float:
        """Seconds since somebody was last seen to receive."""
        return max(0.0, self._now_s() - self._received_s)

    def situation(self) -> Situation:
        """Return what holds for all partitions of the subscription."""
        if not self._is_missed:
            return ALL_WELL
        return Situation(DeliveryState.NO_RECEIVER, self._words.format(self.gap_s))

    def _is_received(self) -> bool:
        asked, self._asked = self._asked, self._adapter.statistics().asked
        return not self._owned or self._adapter.demand().records > 0 or self._in_flight() > 0 or asked != self._asked
