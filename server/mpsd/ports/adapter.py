"""The port to an application: an adapter delivers records by one protocol."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Outcome
from mpsd.ports.peer import Peer


class Demand(NamedTuple):
    """The number of records and bytes that an adapter would take now."""

    records: int
    bytes: int


class AdapterStatistics(NamedTuple):
    """Statistics of an adapter.

    Attributes:
        numbers: by name, for the eye.
        key_fallbacks: records without a usable idempotency key of their producer, by reason.
        asked: requests for records so far, where callers ask again and again and may be gone at each look.
    """

    numbers: Mapping[str, float]
    key_fallbacks: Mapping[str, int] = MappingProxyType({})
    asked: int | None = None


class DeliveryAdapter(Protocol):
    """A way to deliver. An adapter settles each delivery exactly once, in the loop's thread."""

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        """Begin; called once, before any other method.

        Args:
            on_demand: the adapter calls it when `demand()` rose from zero; cheap, superfluous calls are harmless.
            settle: the adapter calls it with the outcome of a delivery. It may call `deliver` before it returns, so
                `deliver` never calls it synchronously.
        """

    def demand(self) -> Demand: ...

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """Start deliveries within the demand; return at once and settle none of them before the return.

        An adapter that takes runs settles the records of one lane in order, and those behind a failed one as Withdrawn.
        """

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        """Wait until no delivery of the assignment is in flight.

        Args:
            deadline_s: seconds from now that the deliveries may take; then the adapter aborts their connections and
                settles them as Withdrawn, all before this returns.
        """

    async def close(self, deadline_s: float) -> None:
        """Revoke everything, then free all resources. The adapter accepts no delivery afterwards."""

    def on_peers(self, peers: Sequence[Peer]) -> None:
        """Take note of all instances that share the subscription's group now, this one among them."""

    def statistics(self) -> AdapterStatistics: ...
