"""Receives Kafka records from the Message Proxy Service: over a gRPC stream, or behind HTTP with the same handler.

    from mps_client import DeadLetter, Record, Retry, run

    async def bill(record: Record) -> None:
        ...                                     # a normal end: done, the next record of this key may come
        raise Retry("no stock", after_s=5)      # not this time; any other exception means the same
        raise DeadLetter("not an order")        # never: to the dead-letter topic

    run(bill, "billing", "127.0.0.1:7072", concurrency=64)

The daemon gives out one record of a key at a time, in order, so no handler needs a lock for that.
"""

from mps_client.asgi import asgi
from mps_client.errors import ClientError, SubscriptionRefused
from mps_client.handlers import Handler
from mps_client.record import Record
from mps_client.statistics import DaemonStatistics, Statistics
from mps_client.subscription import Subscription, run
from mps_client.verdicts import DeadLetter, Retry

__version__ = "0.1.0"

__all__ = [
    "ClientError",
    "DaemonStatistics",
    "DeadLetter",
    "Handler",
    "Record",
    "Retry",
    "Statistics",
    "Subscription",
    "SubscriptionRefused",
    "asgi",
    "run",
]
