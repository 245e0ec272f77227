"""Errors that say what happened, where, and what to do next.

Every error has a `code` such as `delivery.timeout`: it is the metric label, the admin API's detail and a heading in
`docs/reference/errors.md`. Keys and values of records never stand in a message.
"""

from typing import ClassVar


class MpsError(Exception):
    """Something the daemon could not do and can name."""

    code: ClassVar[str] = "internal"


class ConfigError(MpsError):
    """The configuration cannot be used; every problem is listed, one a line."""

    code = "config.invalid"


class KafkaUnavailable(MpsError):  # noqa: N818 - the state of the broker, as Kafka names it
    """The broker did not answer, or answered that it will later: try again after a while."""

    code = "kafka.unavailable"


class KafkaRefused(MpsError):  # noqa: N818
    """Kafka refused an operation (authorization, authentication, a group protocol of another kind)."""

    code = "kafka.refused"


class CommitFenced(MpsError):  # noqa: N818
    """The commit came from a membership that is over; the partitions are somebody else's now."""

    code = "kafka.commit_fenced"


class AddressInUse(MpsError):  # noqa: N818
    """A listener's address is taken by another process."""

    code = "listener.address_in_use"
