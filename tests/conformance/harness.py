"""Harness of an adapter under test: the adapter, and an application double on its other side."""

from abc import ABC, abstractmethod
from enum import Enum
from typing import NamedTuple

from mpsd.ports import DeliveryAdapter
from tests.conformance.watch import Watch


class Reaction(Enum):
    """The application's reaction to a delivery, whatever its protocol calls it."""

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
        reactions: those that its protocol has.
        lost_reactions: those after which nobody knows what became of the delivery.
        timeout_code: of the outcome where no answer came in time.
        dials_in: the application comes to the daemon, so that there is no demand without it.
        records_per_request: how many deliveries one place of `concurrency_max` takes.
        reaction: to every delivery that comes from now on.
        received: all deliveries that came, in order.
        in_flight: deliveries that the application has and did not answer yet.
        in_flight_max: the most there ever were.
        watch: told of every change of the above.
    """

    reactions: frozenset[Reaction] = frozenset(Reaction)
    lost_reactions: frozenset[Reaction] = frozenset({Reaction.GO_AWAY})
    timeout_code = "timeout"
    dials_in = False
    records_per_request = 1

    def __init__(self) -> None:
        self.reaction = Reaction.ACCEPT
        self.received: list[Received] = []
        self.in_flight = 0
        self.in_flight_max = 0
        self.watch = Watch()

    @abstractmethod
    async def start(self, *, concurrency_max: int, timeout_s: float) -> DeliveryAdapter:
        """Start the application, and make an adapter for it that is not started yet."""

    async def ready(self, adapter: DeliveryAdapter) -> None:
        """Let an application that dials in connect, because the adapter has started."""

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


class LeasingHarness(AdapterHarness):
    """An application that dials in and holds what it is given for the length of a lease.

    Attributes:
        lease_total_max_s: with all extensions; set before `start`.
        stale: settlements and extensions that were answered with "too late".
        drained: it was told that no more will come.
        tells_of_drain: whether its protocol has a word for that.
    """

    tells_of_drain = True
    timeout_code = "lease_expired"
    dials_in = True

    def __init__(self) -> None:
        super().__init__()
        self.lease_total_max_s = 3_600.0
        self.stale = 0
        self.drained = False

    @abstractmethod
    async def extend(self, lease_s: float) -> None:
        """Begin the leases of all that hangs anew."""

    @abstractmethod
    async def settle_late(self) -> None:
        """Accept what was over before."""
