"""What is wrong with a configuration, said so that it can be put right."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from mpsd.config.words import Step, field_at, kind_of, shown, table_of, words_at
from mpsd.errors import Problem

Path = tuple[Step, ...]
NESTED = ("a table", "a list ")
"""Where one of these belongs, a text may well be a secret in the wrong place."""


def dotted(path: Iterable[Step]) -> str:
    """A path as it is written in messages: `subscriptions[0].delivery.url`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if re.fullmatch(r"[A-Za-z0-9_-]+", step) else shown(step))
    return text


def subscription_name(tree: Mapping[str, object], path: Sequence[Step]) -> str:
    """The name of the subscription that a path is in; empty outside of one, or where its name is no text."""
    subscriptions, index = tree.get("subscriptions"), path[1] if len(path) > 1 else None
    if path[0] != "subscriptions" or not isinstance(subscriptions, list | tuple) or not isinstance(index, int):
        return ""
    match subscriptions[index]:
        case {"name": str(name)}:
            return shown(name)[1:-1]
        case _:
            return ""


def problems_of(
    error: ValidationError, model: type[BaseModel], tree: Mapping[str, object]
) -> Iterator[tuple[Path, Problem]]:
    """Every problem of a validation, with the path of its key."""
    for detail in error.errors(include_url=False):
        path = detail["loc"]
        said = _say(detail, model)
        if said:
            message, hint = said
            named = path[:-1] if path[-1:] == ("[key]",) else path
            yield (
                path,
                Problem(path=dotted(named), message=message, hint=hint, subscription=subscription_name(tree, path)),
            )


def _say(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str] | None:
    path, given = detail["loc"], detail["input"]
    match detail["type"]:
        case "mps":
            return detail["ctx"]["message"], ""
        case "missing":
            return "is required", words_at(model, path)
        case "extra_forbidden":
            return "is not a known key", _nearest(path, model)
        case "too_short" if len(given) >= detail["ctx"]["min_length"]:
            return None  # its items have problems of their own
        case "too_short" | "too_long" if isinstance(given, list | tuple):
            return f"must be {words_at(model, path)}, not {len(given)} items", ""
        case _:
            allowed = words_at(model, path)
            return f"must be {allowed}, not {(kind_of if allowed[:7] in NESTED else shown)(given)}", _default(
                path, model
            )


def _default(path: Path, model: type[BaseModel]) -> str:
    field = field_at(model, path) if isinstance(path[-1], str) else None
    if field is None or field.default is None or field.default is PydanticUndefined or table_of(field):
        return ""
    return f"the default is {shown(field.default)}" if isinstance(field.default, str | int | float) else ""


def _nearest(path: Path, model: type[BaseModel]) -> str:
    field = field_at(model, path[:-1])
    table = table_of(field) if field else model
    unknown = str(path[-1])
    if table is None:
        return ""
    near = get_close_matches(unknown, table.model_fields, n=1)
    if near:
        return f"did you mean {near[0]}?"
    homes = [dotted((*home, unknown)) for home, other in tables(model) if unknown in other.model_fields]
    if homes:
        return f"there is {' and '.join(homes[:3])}"
    return f"known here: {', '.join(table.model_fields)}"


def tables(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Every table below a model and the keys that lead to it, in the order in which they are declared."""
    for name, field in model.model_fields.items():
        table = table_of(field)
        if table:
            yield (*path, name), table
            yield from tables(table, (*path, name))
