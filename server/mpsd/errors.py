"""Errors that say what happened, where, and what to do next.

Every error has a `code` such as `delivery.timeout`: it is the metric label, the admin API's detail and a heading in
`docs/reference/errors.md`. Keys and values of records never stand in a message.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override


class MpsError(Exception):
    """Something the daemon could not do and can name."""

    code: ClassVar[str] = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with the configuration.

    Attributes:
        path: the key, such as `subscriptions[0].retry.attempts_max`, or the file itself.
        message: what is wrong, with the value given unless that may be a secret.
        hint: what to write instead, or why; may be empty.
        subscription: the name of the subscription that the key is in, or empty.
    """

    path: str
    message: str
    hint: str = ""
    subscription: str = ""

    @override
    def __str__(self) -> str:
        whose = f" ({self.subscription})" if self.subscription else ""
        return f"{self.path}{whose}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(MpsError):
    """The configuration cannot be used; every problem is listed, one a line."""

    code = "config.invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class KafkaUnavailable(MpsError):  # noqa: N818 - the state of the broker, as Kafka names it
    """The broker did not answer, or answered that it will later: try again after a while."""

    code = "kafka.unavailable"


class KafkaRefused(MpsError):  # noqa: N818
    """Kafka refused an operation (authorization, authentication, a group protocol of another kind)."""

    code = "kafka.refused"


class CommitFenced(MpsError):  # noqa: N818
    """The commit came from a membership that is over; the partitions are somebody else's now."""

    code = "kafka.commit_fenced"


class MetadataTooLarge(MpsError):  # noqa: N818
    """The broker takes less text with a commit than it was sent."""

    code = "kafka.metadata_too_large"


class DeadLetterTopicUnsafe(KafkaRefused):
    """The dead-letter topic has a setting that would lose dead letters: nothing is written to it."""

    code = "dead_letter.topic_unsafe"


class DeadLetterTopicGone(MpsError):  # noqa: N818
    """The dead-letter topic is not there, or is not the one that it was."""

    code = "dead_letter.topic_gone"


class ReplayRefused(MpsError):  # noqa: N818
    """A replay cannot be started or changed now; the message says why."""

    code = "replay.refused"


class AddressInUse(MpsError):  # noqa: N818
    """A listener's address is taken by another process."""

    code = "listener.address_in_use"


class AddressUnusable(MpsError):  # noqa: N818
    """A listener cannot have its address: not of this machine, not permitted, or a name that nobody knows."""

    code = "listener.address_unusable"


class ControlOff(MpsError):  # noqa: N818
    """The configuration keeps no control state, so nothing can be changed at run time."""

    code = "control.off"


class ControlUnavailable(MpsError):  # noqa: N818
    """The control topic cannot be read or written now; nothing that is known is forgotten."""

    code = "control.unavailable"


class RevisionConflict(MpsError):  # noqa: N818
    """The entity has changed since the caller looked.

    Attributes:
        current: its revision now; 0: there is none.
        state: what it is now, and whose, in words for programs; empty: there is none.
    """

    code = "control.revision_conflict"

    def __init__(self, message: str, current: int, state: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.current = current
        self.state = state or {}


class RequestIdReused(MpsError):  # noqa: N818
    """The request id stands for a change of something else."""

    code = "control.request_id_reused"


class RecordNotHere(MpsError):  # noqa: N818
    """The record is settled, not read yet, or of a partition that is not this daemon's."""

    code = "record.not_here"
