"""An application's own words about a failure, picked from the body of its answer.

Record keys and values are never logged, but an application's answer may quote its input: FastAPI's 422 has `input`
beside `msg`. So a JSON body is never taken as it stands: only the members that frameworks fill with a message are
picked, and a JSON body with none of them gives no reason at all. Of HTML the tags go, of plain text the first line stays.

    {"detail": [{"type": "missing", "loc": ["body", "id"], "msg": "Field required", "input": {…}}]}    FastAPI
      → body.id: Field required (missing)
    {"title": "Out of stock", "detail": "none left", "status": 409}                                  RFC 9457
      → Out of stock: none left
"""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

REASON_CHARACTERS_MAX = 200
"""Longest reason that is taken from a body: it stands in one line of a log."""
BODY_BYTES_MAX = 4_096
"""Bytes of a body that are looked at; a message further on is not found."""
_DEPTH_MAX = 4
_LOCATION_PARTS_MAX = 8
_ITEMS_MAX = 8
_MESSAGES = ("detail", "message", "msg", "error_description", "description", "reason", "error")
"""Members that hold the message, the most telling first; `title` of a problem document stands before `detail`."""
_LISTS = ("errors", "failures", "details", "violations")
_JSON_PIECES = re.compile(r'"(?:[^"\\]|\\.)*("?)|[][{},]', re.DOTALL)
_HTML_UNSHOWN = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL | re.IGNORECASE)
_HTML_TITLE = re.compile(r"<title\b[^>]*>(.*?)(?:</title\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_HTML_HEADING_END = re.compile(r"</h[1-6]\s*>", re.IGNORECASE)
_HTML_TAG = re.compile(r"<[^>]*(?:>|\Z)")
_TRACE = "Traceback (most recent call last):"


def reason_of(body: bytes) -> str:
    """Return the message in an answer's body: one printable line, at most `REASON_CHARACTERS_MAX`; empty: none found."""
    text = body[:BODY_BYTES_MAX].decode("utf-8", "replace").strip()
    if not text:
        return ""
    if text[0] in '{["':
        return one_line(_of_json(text))
    if text[0] == "<":
        return one_line(_of_html(text))
    return one_line(_of_text(text))


def one_line(text: str) -> str:
    """Return the text without line breaks and control characters, cut to `REASON_CHARACTERS_MAX`."""
    words = " ".join(text.split())
    shown = "".join([each if each.isprintable() else "?" for each in words[: REASON_CHARACTERS_MAX + 1]])
    return shown if len(shown) <= REASON_CHARACTERS_MAX else shown[: REASON_CHARACTERS_MAX - 1] + "…"


def _of_text(text: str) -> str:
    """Return the first line, or the last of a Python trace; nothing of what is no text."""
    if text.count("\ufffd") + text.count("\0") > len(text) // 8:
        return ""
    lines = text.splitlines()
    return lines[-1] if lines[0] == _TRACE else lines[0]


def _of_html(text: str) -> str:
    """Return what a browser would show, its title only where that is all."""
    shown = _HTML_UNSHOWN.sub(" ", text)
    title = _HTML_TITLE.search(shown)
    body = _HTML_HEADING_END.sub(": ", _HTML_TITLE.sub(" ", shown))
    said = html.unescape(_HTML_TAG.sub(" ", body)).strip(" :\r\n\t")
    return said or (html.unescape(title[1]) if title is not None else "")


def _of_json(text: str) -> str:
    for candidate in _whole(text):
        try:
            return _message(json.loads(candidate), _DEPTH_MAX)
        except (ValueError, RecursionError):
            continue
    return ""


def _whole(text: str) -> Iterator[str]:
    """Yield the document, then what is left of one that was cut off: closed where it was cut, or behind its last comma."""
    yield text
    closers: list[str] = []
    at_comma, is_open = "", False
    for piece in _JSON_PIECES.finditer(text):
        mark = piece[0][0]
        if mark == '"':
            is_open = not piece[1]
        elif mark in "[{":
            closers.append("]" if mark == "[" else "}")
        elif mark == ",":
            at_comma = text[: piece.start()] + "".join(reversed(closers))
        elif closers:
            closers.pop()
    yield text + '"' * is_open + "".join(reversed(closers))
    if at_comma:
        yield at_comma


def _message(said: Any, depth: int) -> str:
    """Return the message of a JSON value; a number, and what lies too deep, has none."""
    if isinstance(said, str):
        return said
    if not depth:
        return ""
    if isinstance(said, list):
        found = [message for each in said[:_ITEMS_MAX] if (message := _message(each, depth - 1))]
        return f"{found[0]} (and {len(said) - 1} more)" if found and len(said) > 1 else "".join(found[:1])
    return _of_object(said, depth) if isinstance(said, dict) else ""


def _of_object(said: dict[str, Any], depth: int) -> str:
    message = next((text for name in _MESSAGES if (text := _message(said.get(name), depth - 1))), "")
    title = said.get("title")
    if isinstance(title, str) and title != message:
        message = f"{title}: {message}" if message else title
    inner = next((text for name in _LISTS if (text := _of_list(said.get(name), depth - 1))), "")
    if message and inner:
        return f"{message}: {inner}"
    return _located(said, message) or inner or _of_fields(said)


def _of_list(said: Any, depth: int) -> str:
    """Return the message of a list of errors, or of an object that has a list for each field, as in ASP.NET."""
    return _of_fields(said) if isinstance(said, dict) else _message(said, depth)


def _located(said: dict[str, Any], message: str) -> str:
    """Return the message with where in the record it lies and of what type it is, as pydantic says both."""
    if not message:
        return ""
    parts, kind = said.get("loc"), said.get("type")
    where = ".".join(str(part) for part in parts[:_LOCATION_PARTS_MAX]) if isinstance(parts, list) else ""
    is_kind = isinstance(kind, str) and isinstance(parts, list)
    return (f"{where}: " if where else "") + message + (f" ({kind})" if is_kind else "")


def _of_fields(said: dict[str, Any]) -> str:
    """Return the first complaint of an object that has lists of complaints by field alone, as Django REST framework's."""
    first = ""
    for name, complaints in said.items():
        if not isinstance(complaints, list) or not complaints or not all(isinstance(each, str) for each in complaints):
            return ""
        first = first or f"{name}: {complaints[0]}"
    return f"{first} (and {len(said) - 1} more)" if len(said) > 1 else first
