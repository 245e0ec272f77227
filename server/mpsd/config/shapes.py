"""Descriptions of types and values: one source for messages, the reference page and the example."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

SHOWN_CHARACTERS_MAX = 80
Step = str | int
Shape = tuple[object, tuple[object, ...]]
"""A type and what is annotated to it."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The description of a type for people, if the type alone does not tell."""

    text: str


def shape_of(field: FieldInfo) -> Shape:
    """Return the type of a field and its annotations, without the None of an optional field."""
    shape: Shape = (field.annotation, tuple(field.metadata))
    options = [option for option in get_args(field.annotation) if option is not type(None)]
    if len(options) == 1 and type(None) in get_args(field.annotation):
        return _opened(options[0], shape[1])
    return shape


def table_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the table of a field, or of the items of a list; of a union, the first."""
    return next(iter(tables_of(field)), None)


def tables_of(field: FieldInfo) -> tuple[type[BaseModel], ...]:
    """Return the tables that a field may hold: several of a union, none if it holds something else."""
    kind, _ = shape_of(field)
    if get_origin(kind) is tuple:
        kind, _ = _opened(get_args(kind)[0])
    kinds = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    return tuple(each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel))


def tag_of(table: type[BaseModel], discriminator: str) -> str:
    """Return the value of the discriminator that selects a table of a union."""
    return str(get_args(table.model_fields[discriminator].annotation)[0])


def field_at(model: type[BaseModel], path: Iterable[Step]) -> FieldInfo | None:
    """Return the field at a path of keys and list positions; None if there is none, or if it is no field of a table.

    Within a union it is that of the first table that has one of this name.
    """
    field: FieldInfo | None = None
    candidates: tuple[type[BaseModel], ...] = (model,)
    for step in path:
        if isinstance(step, int):
            continue
        field = next((table.model_fields[step] for table in candidates if step in table.model_fields), None)
        if field is None:
            return None
        candidates = tables_of(field)
    return field


def describe_at(model: type[BaseModel], path: tuple[Step, ...]) -> str:
    """Describe the values allowed at a path, also within a list, or as a value or "[key]" of a mapping; empty if none."""
    if path[-1:] == ("[key]",):
        path = (*path[:-2], "[key]")
    for end in range(len(path), 0, -1):
        field = field_at(model, path[:end])
        if field is not None and not (end < len(path) and table_of(field)):
            shape = shape_of(field)
            for step in path[end - isinstance(path[end - 1], int) :]:
                shape = _within(shape, step)
            return describe(shape)
    return ""


def describe(shape: Shape) -> str:
    """Describe a type, for example `an integer from 1 to 1000`."""
    kind, metadata = shape
    for note in metadata:
        if isinstance(note, Allowed):
            return note.text
    if get_origin(kind) is Literal:
        *others, last = (f'"{option}"' for option in get_args(kind))
        return f"{', '.join(others)} or {last}" if others else last
    if get_origin(kind) is tuple:
        return f"a list{_size(metadata)}, each {describe(_opened(get_args(kind)[0]))}"
    if kind is str:
        return f"a text{_size(metadata, 'of', 'characters')}"
    if kind is int or kind is float:
        return f"{'an integer' if kind is int else 'a number'}{_range(metadata)}"
    names = {bool: "true or false", datetime: "a time"}
    return next((name for known, name in names.items() if kind is known), "a table")


def shown(value: object) -> str:
    """Return a value as TOML, shortened, and without the text before an @, because it may be a password."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "an integer as large"
    if isinstance(value, str):
        text = value.rpartition("@")[2]
        text = ("…" if text != value else "") + text
        text = text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "…"
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text) + '"'
    if isinstance(value, float | date | time):
        return str(value)
    return kind_of(value)


def kind_of(value: object) -> str:
    """Describe the kind of a value, without the value."""
    kinds = (
        (bool, "true or false"),
        (int | float, "a number"),
        (str, "a text"),
        (Mapping, "a table"),
        (list, "a list"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "a time")


def _opened(kind: object, metadata: tuple[object, ...] = ()) -> Shape:
    if get_origin(kind) is Annotated:
        kind, *inner = get_args(kind)
        return kind, (*inner, *metadata)
    return kind, metadata


def _within(shape: Shape, step: Step) -> Shape:
    arguments = get_args(shape[0])
    if get_origin(shape[0]) is tuple:
        return _opened(arguments[0])
    if get_origin(shape[0]) is Mapping and len(arguments) > 1:
        return _opened(arguments[0 if step == "[key]" else 1])
    return shape


def _size(metadata: tuple[object, ...], before: str = "of", after: str = "") -> str:
    least, most = _note(metadata, "min_length"), _note(metadata, "max_length")
    return "" if most is None else f" {before} {least or 0} to {most} {after}".rstrip()


def _range(metadata: tuple[object, ...]) -> str:
    least, most = _note(metadata, "ge"), _note(metadata, "le")
    return f" from {_plain(least)} to {_plain(most)}" if least is not None and most is not None else ""


def _note(metadata: tuple[object, ...], name: str) -> object:
    return next((value for note in metadata if (value := getattr(note, name, None)) is not None), None)


def _plain(number: object) -> str:
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)
