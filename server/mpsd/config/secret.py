"""A secret: named in the configuration, held in memory, never shown."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Never

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError
from typing_extensions import override

from mpsd.config.shapes import Allowed, shown

SECRET_BYTES_MAX = 65_536
"""A file bigger than this is not a secret but a mistake in the path."""


class Secret:
    """The value of an environment variable or a file, read when the configuration is loaded.

    Never changes: `again` returns another secret with what the file holds by then. Not a dataclass or a pydantic model on
    purpose: nothing that prints, copies or serialises those can show the value.

    Attributes:
        file: absolute path of the file; empty for an environment variable.
    """

    __slots__ = ("_rules", "_value", "file", "kind", "name")

    def __init__(self, kind: Literal["env", "file"], name: str, value: str, file: str = "") -> None:
        self.kind = kind
        self.name = name
        self.file = file
        self._value = value
        self._rules: tuple[Callable[[str], object], ...] = ()

    def must(self, rule: Callable[[str], object]) -> None:
        """Hold the value, and each that is read later, to a rule, which refuses by raising."""
        rule(self._value)
        self._rules += (rule,)

    def again(self) -> "Secret":
        """Return the secret as it stands in its file now; itself where it comes from the environment.

        Raises:
            PydanticCustomError: the file cannot be read, or what it holds is refused by a rule.
        """
        if not self.file:
            return self
        fresh = Secret(self.kind, self.name, read_secret_file(Path(self.file), self.name), self.file)
        for rule in self._rules:
            fresh.must(rule)
        return fresh

    def reveal(self) -> str:
        """Return the value, for the wire only; never for a log, a message or a metric."""
        return self._value

    @override
    def __reduce__(self) -> Never:
        raise TypeError("a secret is never copied to where it could be read")

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return (self.kind, self.name, self._value) == (other.kind, other.name, other._value)

    @override
    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    @override
    def __repr__(self) -> str:
        return f"<Secret {self.kind}={self.name!r}>"


def reveal(text: str | Secret) -> str:
    """Return the text to send, from plain text or from a secret."""
    return text.reveal() if isinstance(text, Secret) else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The environment and the directory that a configuration may refer to; the validation context.

    Attributes:
        directory: where relative paths begin: that of the configuration file.
    """

    environ: Mapping[str, str] = field(default_factory=dict)
    directory: Path = field(default_factory=Path)


def refuse(message: str) -> Never:
    """Reject a value with a message that is shown as it stands, so it never holds the value of a secret."""
    raise PydanticCustomError("mps", "{message}", {"message": message})


def surroundings(info: ValidationInfo) -> Surroundings:
    """Return the context of the validation; without one, no variable is set and paths start at the working directory."""
    return info.context if isinstance(info.context, Surroundings) else Surroundings()


def readable_path(given: object, info: ValidationInfo) -> object:
    """Return the absolute path of a file that exists; leave a value that is no string to the type check."""
    if not isinstance(given, str):
        return given
    path = os.path.join(surroundings(info).directory, given)  # noqa: PTH118 - a Path would normalise what is shown
    try:
        readable = os.path.isfile(path) and os.access(path, os.R_OK)  # noqa: PTH113
    except ValueError:  # a NUL byte
        readable = False
    if not readable:
        refuse(f"no file that can be read at {shown(given)}")
    return str(Path(path).absolute())


def read_secret(given: object, info: ValidationInfo) -> Secret:
    """Read what a configuration refers to; a value that stands in the file itself is refused."""
    if isinstance(given, Secret):
        return given
    match given:
        case {"env": str(name), **others} if not others:
            return Secret("env", name, _from_environment(name, surroundings(info)))
        case {"file": str(name), **others} if not others:
            file = surroundings(info).directory / name
            return Secret("file", name, read_secret_file(file, name), os.path.abspath(file))  # noqa: PTH100 - keeps symlinks
        case str():
            refuse('is a secret and never stands in the file itself: write { env = "NAME" } or { file = "path" }')
        case _:
            refuse('must be { env = "NAME" } or { file = "path" }')


def _from_environment(name: str, around: Surroundings) -> str:
    value = around.environ.get(name)
    if value is None:
        refuse(f"the environment variable {name} is not set")
    if not value:
        refuse(f"the environment variable {name} is empty")
    return value


def read_secret_file(file: Path, name: str) -> str:
    """Read the text of a secret's file, without the line break at its end.

    Args:
        name: as the configuration calls the file, for messages.

    Raises:
        PydanticCustomError: there is no such text.
    """
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # opening a pipe would wait for a writer
            refuse(f"{name} is not a regular file")
        with file.open("rb") as opened:
            content = opened.read(SECRET_BYTES_MAX + 1)
        text = content.decode()
    except UnicodeDecodeError:
        refuse(f"the file {name} is not UTF-8 text")
    except OSError as error:
        refuse(f"the file {name} cannot be read: {error.strerror or error}")
    except ValueError as error:
        if isinstance(error, PydanticCustomError):
            raise
        refuse(f"the file {name} cannot be read: {error}")
    if len(content) > SECRET_BYTES_MAX:
        refuse(f"the file {name} is longer than {SECRET_BYTES_MAX} bytes")
    text = text.rstrip("\r\n")
    if not text:
        refuse(f"the file {name} is empty")
    return text


def _read_text(given: object, info: ValidationInfo) -> str | Secret:
    if isinstance(given, str) and given:
        return given
    if isinstance(given, Secret | dict):
        return read_secret(given, info)
    refuse('must be a string, { env = "NAME" } or { file = "path" }')


SECRET_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}

SecretValue = Annotated[
    Secret,
    PlainValidator(read_secret),
    Allowed('a secret: { env = "NAME" } or { file = "path" }'),
    WithJsonSchema(SECRET_SCHEMA),
]
"""A field that takes nothing but a reference to a secret."""

TextValue = Annotated[
    str | Secret,
    PlainValidator(_read_text),
    Allowed('a text, or a secret: { env = "NAME" } or { file = "path" }'),
    WithJsonSchema({"anyOf": [{"type": "string"}, SECRET_SCHEMA]}),
]
"""A field that takes plain text or a reference to a secret."""


class FileName(str):
    """The absolute path of a file that the configuration refers to, told from other texts by its type."""

    __slots__ = ()


FilePath = Annotated[
    str, BeforeValidator(readable_path), AfterValidator(FileName), Allowed("the path of a file that can be read")
]
"""A file that exists; relative paths begin at the directory of the configuration file."""
