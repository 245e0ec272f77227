"""Exit codes and errors of commands."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit code of a command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    """Some daemons did not answer, or have not confirmed a change."""
    UNREACHABLE = 4
    STATE = 5
    """With `status --fail-on`: a subscription or partition is in one of the given states."""
    INTERRUPTED = 130
    """Ctrl-C: 128 plus the number of the signal, like in shells."""


class CommandError(Exception):
    """An error that ends a command, with a complete message for people.

    Args:
        hint: the advice; empty if there is none.
        code: the code for programs: one of `docs/reference/errors.md` if the daemon sent it.
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
