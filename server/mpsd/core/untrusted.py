"""Values out of a document that anybody may have written."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

NUMBER_MAX = (1 << 63) - 1


class Unfit(Exception):  # noqa: N818 - it says what the document is
    """The document is none of ours."""


def number(document: Mapping[str, Any], name: str, least: int = 0) -> int:
    """Return a whole number from `least` up to 2^63 - 1."""
    found = document.get(name)
    if type(found) is not int or not least <= found <= NUMBER_MAX:
        raise Unfit(name)
    return found


def optional_number(document: Mapping[str, Any], name: str) -> int | None:
    return None if document.get(name) is None else number(document, name)


def real(document: Mapping[str, Any], name: str) -> float:
    """Return a number from 0 up."""
    found = document.get(name)
    if type(found) not in {int, float} or not isfinite(found) or found < 0:  # type: ignore[arg-type, operator]
        raise Unfit(name)
    return float(found)  # type: ignore[arg-type]


def text(document: Mapping[str, Any], name: str) -> str:
    found = document.get(name)
    if not isinstance(found, str):
        raise Unfit(name)
    return found


def flag(document: Mapping[str, Any], name: str) -> bool:
    found = document.get(name)
    if not isinstance(found, bool):
        raise Unfit(name)
    return found


def table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    if not isinstance(found, dict):
        raise Unfit(name)
    return found


def numbers(document: Mapping[str, Any], name: str) -> list[int]:
    found = document.get(name)
    if not isinstance(found, list) or not all(type(each) is int and 0 <= each <= NUMBER_MAX for each in found):
        raise Unfit(name)
    return found
