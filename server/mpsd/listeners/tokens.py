"""Who calls, by bearer token, and what they may do.

A tokens file is TOML:

    [[tokens]]
    name = "prometheus"
    role = "viewer"
    token = "at least 16 characters, better 32 random ones"
"""

import hmac
import tomllib
from collections.abc import Sequence
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError
from typing_extensions import override

from mpsd.config.values import Table
from mpsd.errors import ConfigError, Problem

FILE_BYTES_MAX = 1_048_576
TOKEN_CHARS_MIN = 16
TOKEN_CHARS_MAX = 512
TOKENS_MAX = 1000


class Role(IntEnum):
    """What a caller may do; each may what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


class Caller(NamedTuple):
    """Who was recognised."""

    name: str
    role: Role


class Token(Table):
    """One entry of the file."""

    name: str = Field(min_length=1, max_length=100)
    role: Literal["viewer", "operator", "admin"]
    token: str = Field(min_length=TOKEN_CHARS_MIN, max_length=TOKEN_CHARS_MAX, pattern=r"^[!-~]+$", repr=False)


class TokensFile(Table):
    """The file."""

    tokens: list[Token] = Field(min_length=1, max_length=TOKENS_MAX)


class Tokens:
    """Recognises callers. Only hashes of the tokens are kept, and how long a check takes tells nothing about them."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._callers = [(_digest(token.token), Caller(token.name, Role[token.role.upper()])) for token in tokens]

    def adopt(self, others: "Tokens") -> None:
        """Recognise the callers of others instead; whoever was given these asks the new ones from now on."""
        vars(self).update(vars(others))

    @override
    def __repr__(self) -> str:
        return f"<Tokens {len(self._callers)}>"

    def caller(self, authorization: str | None) -> Caller | None:
        """Who sent this `Authorization` header; None for nobody we know."""
        scheme, _, token = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer":
            return None
        given, found = _digest(token.strip()[: TOKEN_CHARS_MAX + 1]), None
        for digest, caller in self._callers:
            if hmac.compare_digest(digest, given):
                found = caller
        return found


def load_tokens(table: str, path: str) -> Tokens:
    """The tokens of a file.

    Args:
        table: of the configuration, for messages.

    Raises:
        ConfigError: all that is wrong with the file; no message holds a token.
    """
    where = f"{table}.tokens_file"
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise ConfigError([Problem(path=where, message=f"{path} is longer than {FILE_BYTES_MAX} bytes")])
        entries = TokensFile.model_validate(tomllib.loads(content.decode())).tokens
    except OSError as error:
        raise ConfigError([Problem(path=where, message=f"{path}: {error.strerror}")]) from error
    except ValidationError as error:
        raise ConfigError(
            [_problem(where, path, problem["loc"], problem["msg"]) for problem in error.errors()]
        ) from None
    except ValueError as error:  # not UTF-8, or not TOML; its text may hold the line, and so a token
        raise ConfigError([Problem(path=where, message=f"{path} is not a TOML file")]) from error
    for kind, values in (("name", [entry.name for entry in entries]), ("token", [entry.token for entry in entries])):
        if len(set(values)) < len(values):
            raise ConfigError([Problem(path=where, message=f"{path}: the same {kind} stands there twice")])
    return Tokens(entries)


def _problem(where: str, path: str, place: Sequence[int | str], message: str) -> Problem:
    at = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    return Problem(path=where, message=f"{path}: {at}: {message}")


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()
