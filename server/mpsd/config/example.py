"""The example that `mpsd init` writes, and the schema that editors check with, both made of the models."""

import textwrap
from collections.abc import Iterator
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mpsd.config.root import Config
from mpsd.config.shapes import describe, shape_of, table_of, tables_of
from mpsd.config.toml import toml_value

COLUMNS = 100

EXAMPLE_INTRODUCTION = """\
# Configuration of the Message Proxy Service: mpsd --config FILE
#
# Lines that begin with # and a key show what may be set, with its default; the other lines have to be there.
# Lines that begin with ## are what may stand instead.
# A secret is { env = "NAME" } or { file = "path" }, never the value itself. Paths begin at this file's directory.
"""


def example() -> str:
    """Return the commented configuration that `mpsd init` writes; it loads as it is, with each other key at its default."""
    return EXAMPLE_INTRODUCTION + "\n".join(_example(Config, ())) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a configuration."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Message Proxy Service"}


def keys_of(table: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Return the fields of a table that hold values."""
    return ((name, field) for name, field in table.model_fields.items() if table_of(field) is None)


def tables_within(table: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, type[BaseModel]]]:
    """Return the fields of a table that hold tables, each with every table that it may hold."""
    return ((name, field, inner) for name, field in table.model_fields.items() for inner in tables_of(field))


def _example(table: type[BaseModel], path: tuple[str, ...], mark: str = "") -> Iterator[str]:
    for name, field in keys_of(table):
        yield ""
        yield from textwrap.wrap(field.description or "", COLUMNS, initial_indent="# ", subsequent_indent="# ")
        active = "" if field.is_required() else "#"
        yield f"{mark or active}{name} = {toml_value(_shown_value(field))}  # {describe(shape_of(field))}"
    for name, field, inner in tables_within(table):
        header = f"[{'.'.join((*path, name))}]"
        other = inner is not table_of(field)  # of a union, which only one table can be
        optional = "##" if other or mark == "##" else "#" if mark or field.default is None else ""
        yield ""
        yield from textwrap.wrap(title_of(inner, field), COLUMNS, initial_indent="# ", subsequent_indent="# ")
        yield optional + (f"[{header}]" if get_origin(field.annotation) is tuple else header)
        yield from _example(inner, (*path, name), optional)


def _shown_value(field: FieldInfo) -> object:
    examples = field.examples or []
    empty = field.default in (PydanticUndefined, None, "", (), {})
    return examples[0] if empty and examples else field.default


def title_of(table: type[BaseModel], field: FieldInfo) -> str:
    """Return the sentences that introduce a table."""
    optional = "" if field.default is not None else " May be left out."
    return (table.__doc__ or "").strip() + optional
