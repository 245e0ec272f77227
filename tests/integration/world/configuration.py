"""A daemon's configuration, from Python values."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

QUICK = {"session_timeout_ms": 6_000, "rebalance_timeout_ms": 3_000, "heartbeat_interval_ms": 200}
"""Members that are noticed sooner than in production, so that a test takes seconds."""


def configuration(bootstrap_servers: Sequence[str], *subscriptions: Mapping[str, Any], **tables: Any) -> str:
    """TOML with listeners on free ports.

    Args:
        tables: top-level tables; those that are here already are added to.
    """
    root: dict[str, Any] = {
        "kafka": {"bootstrap_servers": list(bootstrap_servers), **QUICK},
        "http": {"listen": "127.0.0.1:0"},
        "admin": {"listen": "127.0.0.1:0"},
        "stream": {"listen": "127.0.0.1:0"},
    }
    for name, table in tables.items():
        root[name] = {**root.get(name, {}), **table}
    root["subscriptions"] = list(subscriptions)
    return "".join(f"{name} = {_toml(value)}\n" for name, value in root.items())


def _toml(value: object) -> str:
    """One line: tables are inline; JSON's strings are TOML's."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str() | Path():
            return json.dumps(str(value))
        case Mapping():
            return "{ " + ", ".join(f"{json.dumps(str(key))} = {_toml(item)}" for key, item in value.items()) + " }"
        case Sequence():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            raise TypeError(f"{value!r} has no place in a configuration")
