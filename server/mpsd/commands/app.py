"""The command, what its exit codes say, and how errors end it."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NoReturn

import typer

from mpsd.errors import ConfigError, MpsError

EXAMPLES = """\b
Examples:
  mpsd demo                      see it work, on a Kafka of its own
  mpsd dev --records FILE --url URL
                                 try an application, without a Kafka of your own
  mpsd init                      write mps.toml, a configuration to begin with
  mpsd --config mps.toml --check check that the configuration can work
  mpsd --config mps.toml         serve, until SIGTERM or Ctrl-C

Exit codes: 0 done, 1 failed, 2 the configuration or the command line is wrong.
"""


class Exit(IntEnum):
    """Exit codes of the command."""

    DONE = 0
    FAILED = 1
    USAGE = 2


app = typer.Typer(
    help="Delivers Kafka records to applications by HTTP or gRPC, in order per key, with many keys at once.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


@contextmanager
def failing() -> Iterator[None]:
    """Errors that we can name become one message and an exit code; anything else is a bug and shows its trace."""
    try:
        yield
    except ConfigError as error:
        typer.echo(f"mpsd: the configuration cannot be used:\n{error}", err=True)
        raise typer.Exit(Exit.USAGE) from None
    except MpsError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    typer.echo(f"mpsd: {message}", err=True)
    raise typer.Exit(Exit.FAILED) from None


@contextmanager
def quiet_library() -> Iterator[None]:
    """Silence the Kafka client's log within the context, because the findings report the same problems."""
    import logging

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    yield
