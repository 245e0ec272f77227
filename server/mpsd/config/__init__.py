"""The configuration: its tables, what each key may be, and how it is loaded."""

from mpsd.config.daemon import (
    Admin,
    Control,
    Http,
    Kafka,
    Limits,
    Listener,
    ListenerTls,
    Logging,
    Reload,
    Security,
    Shutdown,
    Stream,
)
from mpsd.config.delivery import (
    Auth,
    Basic,
    Batch,
    ClientTls,
    PullDelivery,
    RestDelivery,
    StatusMeaning,
    StreamDelivery,
)
from mpsd.config.load import load, validate
from mpsd.config.root import Config
from mpsd.config.secret import Secret, reveal
from mpsd.config.subscription import (
    Breaker,
    Commit,
    DeadLetter,
    Ordering,
    Pending,
    Rebalance,
    Retry,
    Subscription,
)
from mpsd.config.toml import print_config
from mpsd.config.values import idempotency_header, split_address

__all__ = [
    "Admin",
    "Auth",
    "Basic",
    "Batch",
    "Breaker",
    "ClientTls",
    "Commit",
    "Config",
    "Control",
    "DeadLetter",
    "Http",
    "Kafka",
    "Limits",
    "Listener",
    "ListenerTls",
    "Logging",
    "Ordering",
    "Pending",
    "PullDelivery",
    "Rebalance",
    "Reload",
    "RestDelivery",
    "Retry",
    "Secret",
    "Security",
    "Shutdown",
    "StatusMeaning",
    "Stream",
    "StreamDelivery",
    "Subscription",
    "idempotency_header",
    "load",
    "print_config",
    "reveal",
    "split_address",
    "validate",
]
