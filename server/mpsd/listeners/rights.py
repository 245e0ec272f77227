"""Roles, and the rights of known callers."""

from enum import IntEnum
from typing import NamedTuple

EVERY = "*"
"""All subscriptions, where a consumer's are named."""


class Role(IntEnum):
    """A role of callers.

    `VIEWER`, `OPERATOR` and `ADMIN` may each what those before may. A `CONSUMER` takes records of its subscriptions and
    does nothing else, and nobody else takes records. A `DAEMON` asks for callers whose rights it has judged itself.
    """

    CONSUMER = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3
    DAEMON = 4


class Caller(NamedTuple):
    """A caller that was authenticated.

    Attributes:
        subscriptions: whose records a consumer may take; `EVERY` among them stands for all.
        content: a viewer may see keys and headers of records, and answers of the application.
    """

    name: str
    role: Role
    subscriptions: frozenset[str] = frozenset()
    content: bool = False

    @property
    def sees_content(self) -> bool:
        """Return True if keys and headers of records, and answers of the application, are shown."""
        return self.content or self.role >= Role.OPERATOR

    def refusal(self, subscription: str) -> str:
        """Return why the caller may not take records of a subscription; empty if it may."""
        if self.role is Role.DAEMON or (self.role is Role.CONSUMER and self.subscriptions & {subscription, EVERY}):
            return ""
        if self.role is not Role.CONSUMER:
            return f"taking records needs the role consumer; {self.name} has {self.role.name.lower()}"
        own = ", ".join(sorted(self.subscriptions))
        return f"{self.name} may take records of {own}, not of {subscription}: see its subscriptions in tokens_file"
