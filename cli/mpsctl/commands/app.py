"""The application `mpsctl`: its help, and the options before a command."""

import typer

from mpsctl.commands.session import connection_parameters, signed

EXAMPLES = """\b
Examples:
  mpsctl status                      show all subscriptions and daemons
  mpsctl status --watch              keep the screen up to date
  mpsctl inspect billing --blocked   show the records that block the commit
  mpsctl pause billing --reason "deployment"
                                     stop deliveries in the whole fleet
  mpsctl dlq ls billing              count dead letters by reason
  mpsctl doctor                      find problems, and what to do about them

The connection options may also stand behind the command. Each has a variable
and a key in ~/.config/mpsctl/config.toml: MPSCTL_ADDRESS or address,
MPSCTL_TOKEN_FILE or token_file, MPSCTL_TLS or tls, MPSCTL_CA or ca,
MPSCTL_CERT or cert, MPSCTL_KEY or key, MPSCTL_INSECURE or insecure,
MPSCTL_TIMEOUT or timeout. A flag overrides the variable, and a variable
overrides the file. The default address is 127.0.0.1:7070.

The file may have a context for each fleet: a table such as [contexts.prod]
with the same keys. `mpsctl --context prod status` uses that table alone and
ignores all variables. MPSCTL_CONTEXT, or context = "prod" in the file, selects
a context without the flag; then variables override its keys.

\b
Exit codes:
  0  success
  1  failure
  2  usage error: the command line or the configuration is wrong
  3  partial success: a daemon did not answer, or has not applied a change
  4  no daemon answers
  5  status --fail-on: a partition is in one of the given states
"""

app = typer.Typer(
    name="mpsctl",
    help="Inspect and control the daemons (mpsd) of the Message Proxy Service.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


def group(name: str, help_text: str, epilog: str) -> typer.Typer:
    """Add a group of commands."""
    below = typer.Typer(
        help=help_text,
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
