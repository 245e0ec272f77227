"""Attempts that were charged since the endpoint's last success, and are given back if an outage comes before the next.

charged a, charged b, success           both stand
charged a, charged b, outage            both are given back
"""

from mpsd.core.delivery import Delivery
from mpsd.core.record import TopicPartition


class Probation:
    """The deliveries charged since the last success, each with how often.

    Holds at most: heads of lanes that failed since then; `left` and `forget` drop what is no longer one.

    Attributes:
        charges: attempts by delivery; the hot path looks at it directly, because most often it is empty.
    """

    __slots__ = ("charges",)

    def __init__(self) -> None:
        self.charges: dict[Delivery, int] = {}

    def charged(self, delivery: Delivery) -> None:
        """Remember an attempt that was charged to a record that goes on."""
        self.charges[delivery] = self.charges.get(delivery, 0) + 1

    def succeeded(self) -> None:
        """Let all of them stand: the endpoint was up."""
        self.charges.clear()

    def give_back(self) -> None:
        """Give all of them back: the endpoint was out."""
        for delivery, attempts in self.charges.items():
            assert delivery.failures is not None
            delivery.failures.attempts -= attempts
        self.charges.clear()

    def left(self, delivery: Delivery) -> None:
        """Forget a record that is settled otherwise."""
        self.charges.pop(delivery, None)

    def forget(self, tp: TopicPartition) -> None:
        """Forget the records of a partition that is no longer ours."""
        for delivery in [delivery for delivery in self.charges if delivery.assignment.tp == tp]:
            del self.charges[delivery]
