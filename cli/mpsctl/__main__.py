"""`mpsctl`: what an operator types."""

import json
import platform
from typing import Annotated

import typer

from mpsctl import __version__

EXAMPLES = """
Examples:

  mpsctl version          which mpsctl this is

  mpsctl version --json   the same, for programs

Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

app = typer.Typer(
    help="See and steer the daemons (mpsd) of the Message Proxy Service.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


@app.callback()
def commands() -> None:
    """With a callback typer keeps `version` a command of its own, though it is the only one."""


@app.command("version")
def show_version(
    *, as_json: Annotated[bool, typer.Option("--json", help='Print {"mpsctl": …, "python": …} instead.')] = False
) -> None:
    """Print the version of mpsctl and of the Python it runs on.

    Example: mpsctl version --json
    """
    versions = {"mpsctl": __version__, "python": platform.python_version()}
    typer.echo(json.dumps(versions) if as_json else f"mpsctl {versions['mpsctl']} (Python {versions['python']})")


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    app()


if __name__ == "__main__":
    main()
