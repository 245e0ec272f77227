"""REST pull: applications ask for records over HTTP, and hold each until they settle it or its lease ends."""

from mpsd.delivery.pull.adapter import PullAdapter
from mpsd.delivery.pull.settings import PullSettings

__all__ = ["PullAdapter", "PullSettings"]
