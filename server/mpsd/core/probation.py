"""Attempts that were charged since the endpoint's last success, and are given back if an outage comes before the next.

charged a, charged b, success           both stand
charged a, charged b, outage            both are given back
"""

from mpsd.core.delivery import Delivery
from mpsd.core.record import TopicPartition


class Probation:
    """The deliveries charged since the last success, each with how often.

    Holds at most: heads of lanes that failed since then; `left` and `forget` drop what is no longer one.
    """

    __slots__ = ("_charged",)

    def __init__(self) -> None:
        self._charged: dict[Delivery, int] = {}

    def __len__(self) -> int:
        return len(self._charged)

    def charged(self, delivery: Delivery) -> None:
        """Remember an attempt that was charged to a record that goes on."""
        self._charged[delivery] = self._charged.get(delivery, 0) + 1

    def succeeded(self) -> None:
        """Let all of them stand: the endpoint was up."""
        self._charged.clear()

    def give_back(self) -> None:
        """Give all of them back: the endpoint was out."""
        for delivery, attempts in self._charged.items():
            assert delivery.failures is not None
            delivery.failures.attempts -= attempts
        self._charged.clear()

    def left(self, delivery: Delivery) -> None:
        """Forget a record that is settled otherwise."""
        self._charged.pop(delivery, None)

    def forget(self, tp: TopicPartition) -> None:
        """Forget the records of a partition that is no longer ours."""
        for delivery in [delivery for delivery in self._charged if delivery.assignment.tp == tp]:
            del self._charged[delivery]
