"""The settings in effect as flat text, without any secret: what daemons of a fleet compare with each other."""

import hashlib
import re
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from mpsd.config.root import Config
from mpsd.config.toml import toml_value

OWN = re.compile(r"(admin|http|stream)\.(listen|advertise)|kafka\.client_id|logging\..*")
"""Settings that are each daemon's own affair."""
HIDDEN = re.compile(r".*\.headers|.*\.username")
"""Settings that may hold what is secret, though they need not."""
_SECRET_OF_URL = re.compile(r"(?<=://)[^/@\s\"]*@|\?[^\"]*")
HASH_CHARS = 12


def effective_settings(config: Config) -> Mapping[str, str]:
    """Return every setting that all daemons should share, by its path, such as `subscriptions.billing.group`."""
    return {path: text for path, text in sorted(_flat(config, "")) if not OWN.fullmatch(path)}


def settings_hash(settings: Mapping[str, str]) -> str:
    """Return a short hash of the settings: two daemons with the same settings have the same."""
    text = "\n".join(f"{path}={value}" for path, value in sorted(settings.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_CHARS]


def _flat(table: BaseModel, path: str) -> Iterator[tuple[str, str]]:
    for name in type(table).model_fields:
        value, where = getattr(table, name), f"{path}{name}"
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{where}.")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for number, item in enumerate(value):
                yield from _flat(item, f"{where}.{getattr(item, 'name', number)}.")
        elif value is not None:
            yield where, _text(where, value)


def _text(path: str, value: object) -> str:
    """Return a value as text; of a value that may be secret, only that it is set."""
    if HIDDEN.fullmatch(path):
        return f"[{', '.join(sorted(value))}]" if isinstance(value, Mapping) else "set"
    return _SECRET_OF_URL.sub("…", toml_value(value))
