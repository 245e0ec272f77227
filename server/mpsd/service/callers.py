"""The tokens files of all listeners, looked at before anything starts."""

from collections.abc import Iterator

from mpsd.admin.daemon import Finding
from mpsd.config import Config
from mpsd.errors import ConfigError, Problem
from mpsd.listeners.tokens import load_tokens


def check_tokens(config: Config) -> None:
    """Read each tokens file and forget it.

    Raises:
        ConfigError: all that is wrong with them, such as a consumer of a subscription that there is not.
    """
    if problems := list(_problems(config)):
        raise ConfigError(problems)


def token_findings(config: Config) -> list[Finding]:
    """Find what is wrong with the tokens files."""
    code = ConfigError.code
    return [
        Finding(ok=False, about=problem.path, text=problem.message, code=code, advice="correct the file")
        for problem in _problems(config)
    ]


def _problems(config: Config) -> Iterator[Problem]:
    for table, listener in (("admin", config.admin), ("http", config.http), ("stream", config.stream)):
        if listener.tokens_file:
            try:
                load_tokens(table, listener.tokens_file, config.names)
            except ConfigError as error:
                yield from error.problems
