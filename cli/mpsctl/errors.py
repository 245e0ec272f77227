"""Exit codes and errors of commands."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit code of a command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    """Some daemons did not answer, or a change is not confirmed by all."""
    UNREACHABLE = 4
    STATE = 5
    """`status --fail-on`: a subscription, or a partition of it, is in one of the states that were named."""
    INTERRUPTED = 130
    """Ctrl-C, as shells have it: 128 and the number of the signal."""


class CommandError(Exception):
    """An error that ends a command; the message is for people, and complete.

    Args:
        hint: what to do about it; empty if nobody knows.
        code: of `docs/reference/errors.md` if the daemon said one, else a word of ours.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: Exit = Exit.FAILED, code: str = "failed") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.code = code


def usage(message: str, hint: str = "") -> CommandError:
    """Return a usage error: the command line or the configuration is wrong."""
    return CommandError(message, hint=hint, exit_code=Exit.USAGE, code="usage")
