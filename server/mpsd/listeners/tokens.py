"""Callers by bearer token or client certificate, and their rights.

A tokens file is TOML:

    [[tokens]]
    name = "prometheus"
    role = "viewer"
    token = "at least 16 characters, better 32 random ones"

    [[tokens]]
    name = "billing"
    role = "consumer"
    subscriptions = ["billing"]
    certificate = "billing.example.com"
"""

import hmac
import tomllib
from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator
from typing_extensions import override

from mpsd.config.secret import refuse
from mpsd.config.shapes import shown
from mpsd.config.values import Table
from mpsd.errors import ConfigError, Problem
from mpsd.listeners.rights import EVERY, Caller, Role

FILE_BYTES_MAX = 1_048_576
TOKEN_CHARS_MIN = 16
TOKEN_CHARS_MAX = 512
TOKENS_MAX = 1000
SUBSCRIPTIONS_MAX = 1000
SUBSCRIPTIONS_SHOWN_MAX = 20


class Token(Table):
    """An entry of the file: a caller, known by a token or by a certificate."""

    name: str = Field(min_length=1, max_length=100)
    role: Literal["consumer", "viewer", "operator", "admin", "daemon"]
    token: str | None = Field(
        default=None, min_length=TOKEN_CHARS_MIN, max_length=TOKEN_CHARS_MAX, pattern=r"^[!-~]+$", repr=False
    )
    certificate: str | None = Field(default=None, min_length=1, max_length=253)
    subscriptions: Annotated[tuple[str, ...], Field(strict=False, max_length=SUBSCRIPTIONS_MAX)] = ()
    content: bool = False

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.token is None) == (self.certificate is None):
            refuse("must have one of token and certificate")
        if self.role == "consumer" and not self.subscriptions:
            refuse('must have subscriptions: the names of those whose records it may take, or ["*"] for all')
        if self.role != "consumer" and self.subscriptions:
            refuse(
                f'has subscriptions, and the role {self.role}: only a consumer takes records; write role = "consumer"'
            )
        if self.role != "viewer" and self.content:
            refuse(f"has content, and the role {self.role}: only viewers are shown more by it")
        if self.role == "daemon" and self.certificate is None:
            refuse(
                "has the role daemon, and daemons are known by their certificate: write certificate instead of token"
            )
        return self

    @property
    def caller(self) -> Caller:
        """Return the caller that the entry describes."""
        return Caller(self.name, Role[self.role.upper()], frozenset(self.subscriptions), self.content)


class TokensFile(Table):
    """The tokens file."""

    tokens: list[Token] = Field(min_length=1, max_length=TOKENS_MAX)


class Tokens:
    """The known callers. Only hashes of the tokens are kept, and the time of a check does not depend on them."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._callers = [(_digest(each.token), each.caller) for each in tokens if each.token is not None]
        self._certified = {each.certificate: each.caller for each in tokens if each.certificate is not None}

    def adopt(self, others: "Tokens") -> None:
        """Replace the known callers by those of other tokens; users of this object see the new ones from now on."""
        vars(self).update(vars(others))

    @override
    def __repr__(self) -> str:
        return f"<Tokens {len(self._callers)}, certificates {len(self._certified)}>"

    def caller(self, authorization: str | None, certified: Collection[str] = ()) -> Caller | None:
        """Return who calls; None for nobody we know.

        Args:
            authorization: the header of this name. Where there is one, it alone counts.
            certified: the names in the certificate of a client that the listener believes.
        """
        if authorization is None:
            return next((self._certified[name] for name in certified if name in self._certified), None)
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            return None
        given, found = _digest(token.strip()[: TOKEN_CHARS_MAX + 1]), None
        for digest, caller in self._callers:
            if hmac.compare_digest(digest, given):
                found = caller
        return found


def load_tokens(table: str, path: str, subscriptions: Collection[str]) -> Tokens:
    """Read a tokens file.

    Args:
        table: of the configuration, for messages.
        subscriptions: names of those that there are; a consumer of another one is an error.

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
    for kind in ("name", "token", "certificate"):
        values = [value for entry in entries if (value := getattr(entry, kind)) is not None]
        if len(set(values)) < len(values):
            raise ConfigError([Problem(path=where, message=f"{path}: the same {kind} stands there twice")])
    if unknown := [
        problem for at, entry in enumerate(entries) for problem in _unknown(where, path, at, entry, subscriptions)
    ]:
        raise ConfigError(unknown)
    return Tokens(entries)


def _unknown(where: str, path: str, at: int, entry: Token, known: Collection[str]) -> list[Problem]:
    there = ", ".join(sorted(known)[:SUBSCRIPTIONS_SHOWN_MAX])
    return [
        _problem(
            where,
            path,
            ("tokens", at, "subscriptions", number),
            f"{shown(name)} of {shown(entry.name)} is no subscription; there are {there}",
        )
        for number, name in enumerate(entry.subscriptions)
        if name != EVERY and name not in known
    ]


def _problem(where: str, path: str, place: Sequence[int | str], message: str) -> Problem:
    at = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    return Problem(path=where, message=f"{path}: {at}: {message}")


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()
