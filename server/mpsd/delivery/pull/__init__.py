"""REST pull: applications ask for records over HTTP, and hold each until they settle it or its lease ends."""

from mpsd.delivery.pull.adapter import PullAdapter

__all__ = ["PullAdapter"]
