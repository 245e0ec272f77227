"""Files of records in JSON lines, written by hand.

    {"key": "customer-7", "value": {"order": 1}, "headers": {"trace": "abc"}}
    {"key": null, "value": "plain text"}
    {"key_base64": "AP8=", "value_base64": "AAEC", "partition": 1}
    {"key": "customer-7", "value": null}

A value that is no text is written as JSON, and an object or a list is sent as application/json, as the daemon does with any
record whose value looks so; null is a tombstone, and a key that is null or left out is none.
"""

import json
from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mpsd.errors import MpsError
from mpsd.kafka.topics import Message

FILE_BYTES_MAX = 67_108_864
"""A file written by hand is far smaller; one that is not is produced by other means."""
KEYS = ("key", "key_base64", "value", "value_base64", "headers")


class RecordsFileError(MpsError):
    """A file of records that cannot be used; the message names the line."""

    code = "dev.records"


def read_records(path: Path) -> list[Message]:
    """Return the records of a file, in order.

    Raises:
        RecordsFileError: it cannot be read, holds none, or a line is no record.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise RecordsFileError(f"{path}: more than {FILE_BYTES_MAX} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RecordsFileError(f"{path}: {error.strerror}; name a file of JSON lines") from error
    except UnicodeDecodeError as error:
        raise RecordsFileError(f"{path}: not UTF-8 text (byte {error.start})") from error
    return parse_records(lines, str(path))


def parse_records(lines: Iterable[str], name: str) -> list[Message]:
    """Return the records of lines; blank lines and lines that begin with # are skipped.

    Args:
        name: of the file, for messages.
    """
    messages = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            messages.append(_message(json.loads(line)))
        except ValueError as error:
            raise RecordsFileError(f"{name}, line {number}: {error}") from error
    if not messages:
        raise RecordsFileError(f'{name}: no records; a line is, for example, {{"key": "k1", "value": {{"order": 1}}}}')
    return messages


def _message(given: Any) -> Message:
    if not isinstance(given, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a malformed line is a value to the caller
    if unknown := sorted(given.keys() - set(KEYS)):
        raise ValueError(f"{unknown[0]!r} is not known; a record has {', '.join(KEYS)}")
    if "value" not in given and "value_base64" not in given:
        raise ValueError('no "value"; write null for a tombstone')
    headers = given.get("headers") or {}
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError('"headers" must be an object, or a list of [name, value] where a name repeats')
    return Message(_bytes(given, "key"), _bytes(given, "value"), [(str(name), _text(value)) for name, value in pairs])


def _bytes(given: dict[str, Any], field: str) -> bytes | None:
    coded = given.get(f"{field}_base64")
    if coded is None:
        value = given.get(field)
        return None if value is None else _text(value)
    if given.get(field) is not None:
        raise ValueError(f'"{field}" and "{field}_base64" exclude each other')
    if not isinstance(coded, str):
        raise ValueError(f'"{field}_base64" must be a text')  # noqa: TRY004 - as above
    try:
        return b64decode(coded, validate=True)
    except ValueError:
        raise ValueError(f'"{field}_base64" is not base64') from None


def _text(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
