"""The errors of a configuration, in messages that say how to correct them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from mpsd.config.shapes import Step, describe_at, field_at, kind_of, shown, table_of, tables_of, tag_of
from mpsd.errors import Problem

Path = tuple[Step, ...]
NESTED = ("a table", "a list ")
"""Kinds of values: where one of these belongs, a text may well be a secret in the wrong place."""


def dotted(path: Iterable[Step]) -> str:
    """Return a path as messages show it: `subscriptions[0].delivery.url`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if re.fullmatch(r"[A-Za-z0-9_-]+", step) else shown(step))
    return text


def subscription_name(tree: Mapping[str, object], path: Sequence[Step]) -> str:
    """Return the name of the subscription that a path is in; empty if there is none, or if its name is no text."""
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
    """Yield every problem of a validation, with the path of its key."""
    for detail in error.errors(include_url=False):
        path, table = _untagged(detail["loc"], model)
        if detail["type"] in {"union_tag_invalid", "union_tag_not_found"}:
            path = (*path, detail["ctx"]["discriminator"].strip("'"))
        said = _say(detail, path, model, table)
        if said:
            message, hint = said
            named = path[:-1] if path[-1:] == ("[key]",) else path
            yield (
                path,
                Problem(path=dotted(named), message=message, hint=hint, subscription=subscription_name(tree, path)),
            )


def _untagged(path: Path, model: type[BaseModel]) -> tuple[Path, type[BaseModel] | None]:
    """Return a path without the tags of unions, and the table of the last union on it; None if there is no union."""
    clean: list[Step] = []
    table: type[BaseModel] | None = None
    for step in path:
        field = field_at(model, clean) if clean and isinstance(clean[-1], str) else None
        options = tables_of(field) if field is not None else ()
        if len(options) > 1 and field is not None and isinstance(field.discriminator, str):
            tagged = {tag_of(option, field.discriminator): option for option in options}
            if table is None and step in tagged:
                table = tagged[str(step)]
                continue
        clean.append(step)
    return tuple(clean), table


def _say(
    detail: ErrorDetails, path: Path, model: type[BaseModel], table: type[BaseModel] | None
) -> tuple[str, str] | None:
    given = detail["input"]
    match detail["type"]:
        case "union_tag_not_found":
            return "is required", _tags(path, model)
        case "union_tag_invalid":
            tag = given.get(path[-1]) if isinstance(given, dict) else given
            return f"must be {_tags(path, model)}, not {shown(tag)}", ""
        case "mps":
            return detail["ctx"]["message"], ""
        case "missing":
            return "is required", describe_at(model, path)
        case "extra_forbidden":
            return "is not a known key", _nearest(path, model, table)
        case "too_short" if len(given) >= detail["ctx"]["min_length"]:
            return None  # its items have problems of their own
        case "too_short" | "too_long" if isinstance(given, list | tuple):
            return f"must be {describe_at(model, path)}, not {len(given)} items", ""
        case _:
            allowed = describe_at(model, path)
            return f"must be {allowed}, not {(kind_of if allowed[:7] in NESTED else shown)(given)}", _default(
                path, model
            )


def _default(path: Path, model: type[BaseModel]) -> str:
    field = field_at(model, path) if isinstance(path[-1], str) else None
    if field is None or field.default is None or field.default is PydanticUndefined or table_of(field):
        return ""
    return f"the default is {shown(field.default)}" if isinstance(field.default, str | int | float) else ""


def _tags(path: Path, model: type[BaseModel]) -> str:
    """Return the tags of the union whose discriminator is at a path."""
    field = field_at(model, path[:-1])
    *others, last = [f'"{tag_of(each, str(path[-1]))}"' for each in tables_of(field)] if field else [""]
    return f"{', '.join(others)} or {last}"


def _nearest(path: Path, model: type[BaseModel], union_table: type[BaseModel] | None) -> str:
    field = field_at(model, path[:-1])
    options = tables_of(field) if field else (model,)
    table = union_table if union_table in options else next(iter(options), None)
    unknown = str(path[-1])
    others = [option for option in options if option is not table and unknown in option.model_fields]
    if others and field is not None and isinstance(field.discriminator, str):
        return f'it is a key of {field.discriminator} = "{tag_of(others[0], field.discriminator)}"'
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
    """Yield every table below a model with its path, in the order of declaration."""
    for name, field in model.model_fields.items():
        for table in tables_of(field):
            yield (*path, name), table
            yield from tables(table, (*path, name))
