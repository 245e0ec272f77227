"""A caller that waits for records."""

import asyncio

from mpsd.delivery.pull.leases import Lease


class Waiter:
    """A caller that waits for records.

    Attributes:
        given: what it is given, by `deliver`; whoever waits for it asks `adapter.leave` if it goes away.
    """

    __slots__ = ("given", "is_aside", "lease_s", "records_max")

    def __init__(self, records_max: int, lease_s: float, given: asyncio.Future[Lease]) -> None:
        self.records_max = records_max
        self.lease_s = lease_s
        self.given = given
        self.is_aside = False


class ClosingError(Exception):
    """No record is given any more."""


class TooManyWaitersError(Exception):
    """`waiters_max` callers wait already."""
