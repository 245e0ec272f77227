"""The daemon as a whole: its subscriptions, its listeners, its way in and out of life."""

from mpsd.service.service import Service

__all__ = ["Service"]
