"""A client of the Message Proxy Service: receives Kafka records over gRPC streams, or over HTTP with the same handler.

    from mps_client import DeadLetter, Record, Retry, run

    async def bill(record: Record) -> None:
        ...                                     # a normal end accepts the record
        raise Retry("no stock", after_s=5)      # deliver it again; any other exception does the same
        raise DeadLetter("not an order")        # move it to the dead-letter topic

    run(bill, "billing", "127.0.0.1:7072", concurrency=64)

The daemon delivers the records of one key in order and one at a time, so that a handler needs no lock for a key.
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
