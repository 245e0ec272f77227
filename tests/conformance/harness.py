"""What an adapter must bring to be tested: itself, and an application double on its other side."""

from abc import ABC, abstractmethod
from enum import Enum
from typing import NamedTuple

from mpsd.ports import DeliveryAdapter
from tests.conformance.watch import Watch


class Reaction(Enum):
    """What the application does with a delivery, in whatever words its protocol has."""

    ACCEPT = "accept"
    ASK_TO_RETRY = "ask to retry"
    REJECT = "reject"
    ASK_FOR_LESS = "ask for less"
    SAY_UNAVAILABLE = "say unavailable"
    HANG = "hang"
    GO_AWAY = "go away"
    TALK_NONSENSE = "talk nonsense"


class Received(NamedTuple):
    """A delivery as the application saw it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    attempt: int
    epoch: int


class AdapterHarness(ABC):
    """One adapter with its application double. The double runs in the test's loop, over real sockets.

    Attributes:
        reaction: to every delivery that comes from now on.
        received: all deliveries that came, in order.
        in_flight: deliveries that the application has and did not answer yet.
        in_flight_max: the most there ever were.
        watch: told of every change of the above.
    """

    def __init__(self) -> None:
        self.reaction = Reaction.ACCEPT
        self.received: list[Received] = []
        self.in_flight = 0
        self.in_flight_max = 0
        self.watch = Watch()

    @abstractmethod
    async def start(self, *, concurrency_max: int, timeout_s: float) -> DeliveryAdapter:
        """Start the application, and make an adapter for it that is not started yet."""

    @abstractmethod
    def release(self) -> None:
        """Accept what hangs."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop the application; nothing listens at its address any more."""

    def came(self, received: Received) -> None:
        self.received.append(received)
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight, self.in_flight_max)
        self.watch.changed()

    def went(self) -> None:
        self.in_flight -= 1
        self.watch.changed()
