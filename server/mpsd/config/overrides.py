"""Environment variables and flags that take precedence over the file."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mpsd.config.problems import Path, dotted
from mpsd.config.secret import Secret
from mpsd.config.shapes import shape_of, table_of
from mpsd.errors import Problem

PREFIX = "MPS_"
SERVICE_LINK = re.compile(r"SERVICE_(HOST|PORT(_.*)?)|PORT(_.*)?")
"""Variables that Kubernetes sets in every pod for a service that is called, say, mps-http: not meant for us."""

Tree = dict[str, object]


def variable_name(path: Path) -> str:
    """Return the environment variable of a key: MPS_KAFKA_CLIENT_ID for kafka.client_id."""
    return PREFIX + "_".join(map(str, path)).upper()


def overridable(model: type[BaseModel]) -> dict[tuple[str, str], FieldInfo]:
    """Return the keys that a variable or a flag can set: scalars, and lists of texts, of the top-level tables."""
    return {
        (table_name, key): field
        for table_name, table_field in model.model_fields.items()
        for key, field in _keys_of(table_field)
    }


def _keys_of(table_field: FieldInfo) -> Iterator[tuple[str, FieldInfo]]:
    table = table_of(table_field)
    if table is None or get_origin(table_field.annotation) is tuple:
        return
    for key, field in table.model_fields.items():
        if table_of(field) is None and shape_of(field)[0] is not Secret:
            yield key, field


def override(
    tree: Mapping[str, object], model: type[BaseModel], environ: Mapping[str, str], flags: Mapping[str, object]
) -> tuple[Tree, dict[Path, str], list[Problem]]:
    """Return the tree with the values that variables and flags set.

    Args:
        flags: values by dotted path, such as `{"kafka.client_id": "mps-1"}`; a text is read as a variable's is.

    Returns:
        The new tree, where each overridden path comes from, and what is wrong with names.
    """
    fields = overridable(model)
    merged: Tree = {name: dict(table) if isinstance(table, dict) else table for name, table in tree.items()}
    origins: dict[Path, str] = {}
    problems: list[Problem] = []
    variables = {variable_name(path): path for path in fields}
    for name, text in environ.items():
        if name in variables:
            _set(merged, variables[name], _read(text, fields[variables[name]]))
            origins[variables[name]] = f"the environment variable {name}"
        elif _is_ours(name, model):
            problems.append(_unknown(name, list(variables), "is not a variable of any key that can be set so"))
    paths = {dotted(path): path for path in fields}
    for name, value in flags.items():
        if name in paths:
            _set(merged, paths[name], _read(value, fields[paths[name]]) if isinstance(value, str) else value)
            origins[paths[name]] = "a flag"
        else:
            problems.append(_unknown(name, list(paths), "is not a key that a flag can set"))
    return merged, origins, problems


def _is_ours(name: str, model: type[BaseModel]) -> bool:
    for table in model.model_fields:
        prefix = variable_name((table,)) + "_"
        if name.startswith(prefix):
            return not SERVICE_LINK.fullmatch(name.removeprefix(prefix))
    return False


def _unknown(name: str, known: list[str], message: str) -> Problem:
    near = get_close_matches(name, known, n=1)
    return Problem(path=name, message=message, hint=f"did you mean {near[0]}?" if near else "")


def _set(tree: Tree, path: tuple[str, str], value: object) -> None:
    table = tree.setdefault(path[0], {})
    if isinstance(table, dict):
        table[path[1]] = value


def _read(text: str, field: FieldInfo) -> object:
    """Return a text as the type of its field, or unchanged if it is none, so that the validation reports it."""
    kind, _ = shape_of(field)
    if get_origin(kind) is tuple:
        return [item.strip() for item in text.split(",")]
    try:
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
    except ValueError:
        return text
    return {"true": True, "false": False}.get(text, text) if kind is bool else text
