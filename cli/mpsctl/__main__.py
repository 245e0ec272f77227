"""The program `mpsctl`."""

import os

from mpsctl.commands import dead_letters, deliveries, fleet, offsets, queues, replays, status
from mpsctl.commands.app import app

COMMANDS = (status, queues, deliveries, dead_letters, replays, offsets, fleet)
"""Modules whose import adds commands to the application, in the order of the help."""

app.registered_commands.sort(
    key=lambda command: [module.__name__ for module in COMMANDS].index(getattr(command.callback, "__module__", ""))
)


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    if "_MPSCTL_COMPLETE" in os.environ:
        from typer.completion import get_completion_inspect_parameters  # noqa: PLC0415 - only for a shell that completes

        get_completion_inspect_parameters()  # registers the shells that typer knows, without its two options in the help
    app(prog_name="mpsctl")


__all__ = ["app", "main"]

if __name__ == "__main__":
    main()
