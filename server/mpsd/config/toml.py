"""A configuration as TOML: what is in effect, without the value of any secret."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime

from pydantic import BaseModel

from mpsd.config.root import Config
from mpsd.config.secret import Secret
from mpsd.config.values import masked_url

BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def print_config(config: Config) -> str:
    """Return the settings in effect as TOML, which loads again if the same secrets are set, and shows none of them."""
    return "\n".join(_table(config, ())).lstrip() + "\n"


def toml_value(value: object) -> str:
    """Return a value as TOML, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Secret):
        return f"{{ {value.kind} = {toml_value(value.name)} }}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{toml_key(str(key))} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return str(value)


def toml_key(key: str) -> str:
    """Return a key as TOML, quoted if necessary."""
    return key if key and BARE.issuperset(key) else toml_value(key)


def _table(table: BaseModel, path: tuple[str, ...]) -> Iterator[str]:
    values = {name: getattr(table, name) for name in type(table).model_fields}
    for name, value in values.items():
        if value is not None and not _is_nested(value):
            shown = masked_url(value) if name == "url" and isinstance(value, str) else value
            yield f"{name} = {toml_value(shown)}"
    for name, value in values.items():
        header = ".".join((*path, name))
        if isinstance(value, BaseModel):
            yield from ("", f"[{header}]", *_table(value, (*path, name)))
        elif _is_nested(value):
            for item in value:
                yield from ("", f"[[{header}]]", *_table(item, (*path, name)))


def _is_nested(value: object) -> bool:
    return isinstance(value, BaseModel) or (isinstance(value, tuple) and any(isinstance(i, BaseModel) for i in value))
