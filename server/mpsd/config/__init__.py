"""The configuration: its tables, what each key may be, and how it is loaded."""

from mpsd.config.daemon import (
    Admin,
    Control,
    Http,
    Kafka,
    Listener,
    ListenerTls,
    Security,
    Stream,
)
from mpsd.config.delivery import (
    Auth,
    Basic,
    Batch,
    ClientTls,
    PullDelivery,
    RestDelivery,
    StreamDelivery,
)
from mpsd.config.load import load, validate
from mpsd.config.root import Config
from mpsd.config.secret import Secret, reveal
from mpsd.config.subscription import (
    Ordering,
    Subscription,
)
from mpsd.config.toml import print_config
from mpsd.config.values import idempotency_header, split_address

__all__ = [
    "Admin",
    "Auth",
    "Basic",
    "Batch",
    "ClientTls",
    "Config",
    "Control",
    "Http",
    "Kafka",
    "Listener",
    "ListenerTls",
    "Ordering",
    "PullDelivery",
    "RestDelivery",
    "Secret",
    "Security",
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
