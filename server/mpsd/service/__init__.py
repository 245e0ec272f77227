"""The daemon as a whole: its subscriptions, its listeners, its start and its end."""

from mpsd.service.daemon import Daemon

__all__ = ["Daemon"]
