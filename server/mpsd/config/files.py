"""The files that a table of the configuration was read from or refers to, and the same table read from them again."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from mpsd.config.problems import Path, dotted
from mpsd.config.secret import FileName, Secret
from mpsd.errors import ConfigError, Problem

FILE_BYTES_MAX = 4_194_304
"""Most bytes of a file that are compared: every authority that a system trusts has a tenth of it."""
CHUNK_BYTES = 65_536

Part = TypeVar("Part")
"""A table, or a value in one."""


def files_of(part: object) -> list[str]:
    """Return the absolute paths of all files that a part of the configuration needs, each once."""
    return list(dict.fromkeys(_files(part)))


def fingerprints(files: Sequence[str]) -> tuple[str, ...]:
    """Return one text a file, which differs whenever its content does, or the reason for which it cannot be read.

    Contents are compared and not times: a mounted secret is swapped by a symbolic link, and a copy may keep its time.
    """
    return tuple(map(_fingerprint, files))


def read_again(part: Part, path: Path) -> Part:
    """Return a part of the configuration with all of its secret files as they are now.

    Args:
        path: where the part stands, for messages.

    Raises:
        ConfigError: a file cannot be read, or what it holds is refused; no message has its content.
    """
    problems: list[Problem] = []
    fresh = _again(part, path, problems)
    if problems:
        raise ConfigError(problems)
    return fresh  # type: ignore[no-any-return]


def _files(part: object) -> Iterator[str]:
    match part:
        case Secret():
            yield from [part.file] if part.file else []
        case FileName():
            yield str(part)
        case BaseModel():
            for name in type(part).model_fields:
                yield from _files(getattr(part, name))
        case Mapping():
            for value in part.values():
                yield from _files(value)
        case tuple():
            for value in part:
                yield from _files(value)
        case _:
            pass


def _again(part: Any, path: Path, problems: list[Problem]) -> Any:
    match part:
        case Secret():
            try:
                return part.again()
            except PydanticCustomError as error:
                problems.append(Problem(path=dotted(path), message=error.message()))
                return part
        case BaseModel():
            names = type(part).model_fields
            return part.model_copy(
                update={name: _again(getattr(part, name), (*path, name), problems) for name in names}
            )
        case Mapping():
            return {name: _again(value, (*path, str(name)), problems) for name, value in part.items()}
        case tuple():
            return tuple(_again(value, (*path, number), problems) for number, value in enumerate(part))
        case _:
            return part


def _fingerprint(file: str) -> str:
    path, digest = FilePath(file), sha256()
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            return "not-a-file"
        with path.open("rb") as opened:
            for _ in range(FILE_BYTES_MAX // CHUNK_BYTES):
                if not (chunk := opened.read(CHUNK_BYTES)):
                    break
                digest.update(chunk)
    except OSError as error:
        return f"errno-{error.errno}"
    return digest.hexdigest()
