"""`mpsctl` itself: what stands before a command."""

import typer

from mpsctl.commands.session import connection_parameters, signed

EXAMPLES = """\b
Examples:
  mpsctl status                        the fleet at a glance
  mpsctl status --watch                the same, live
  mpsctl inspect billing --blocked     why a committed offset does not move
  mpsctl pause billing --reason deploy
                                       stop deliveries, everywhere
  mpsctl dlq ls billing                what is dead, and why
  mpsctl doctor                        what is wrong, and what to do

Each command takes the options above too, and tells more with --help. They may
also be set by MPSCTL_ADDRESS, MPSCTL_TOKEN_FILE, MPSCTL_CA, MPSCTL_CERT,
MPSCTL_KEY, MPSCTL_TLS, MPSCTL_TIMEOUT, or as address, token_file, ca, cert,
key, tls, timeout in ~/.config/mpsctl/config.toml. A flag overrides a variable,
a variable the file; without any, it is 127.0.0.1:7070.

The file may have a table for each fleet, such as [contexts.prod] with the same
keys: `mpsctl --context prod status`. Then no variable counts, and nothing of
the file but that table. MPSCTL_CONTEXT, or context = "prod" in the file, names
the one to take without the flag; there variables override it.

\b
Exit codes:
  0  done
  1  failed
  2  usage error: the command line is wrong
  3  partly: some daemons did not answer, or have not applied the change yet
  4  no daemon answers
  5  status --fail-on: a subscription is in one of the states that were named
"""

app = typer.Typer(
    name="mpsctl",
    help="See and steer the daemons (mpsd) of the Message Proxy Service.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


def group(name: str, words: str, epilog: str) -> typer.Typer:
    """Add a group of commands."""
    below = typer.Typer(
        help=words,
        epilog=epilog,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    app.add_typer(below, name=name)
    return below


def _before(**_: object) -> None:
    """Keep the options that were given before the command."""


app.callback()(signed(_before, connection_parameters()))
