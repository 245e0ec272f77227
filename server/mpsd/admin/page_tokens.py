"""Page tokens: where the next page begins, as text that nobody needs to understand, and that anybody may have written."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

from mpsd.admin.refusals import InvalidArgument

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000
TOKEN_CHARS_MAX = 65_536
"""Offsets of some 3,000 partitions."""


def page_token(kind: str, *parts: int | str) -> str:
    """Args: kind: of list, so that a token of one is not taken for one of another."""
    return urlsafe_b64encode(json.dumps([kind, *parts], separators=(",", ":")).encode()).decode()


def parse_token(text: str, kind: str, types: Sequence[type]) -> list[int | str] | None:
    """What `page_token` was given; None for the first page.

    Raises:
        InvalidArgument: it is none of ours.
    """
    if not text:
        return None
    try:
        found = json.loads(urlsafe_b64decode(text[:TOKEN_CHARS_MAX]))
    except (ValueError, RecursionError):
        found = None
    wanted = [str, *types]
    if not isinstance(found, list) or [type(part) for part in found] != wanted or found[0] != kind:
        raise InvalidArgument(
            "page_token", "is not one of this list; take it from the answer before, or leave it empty"
        )
    return found[1:]


def page_size(given: int) -> int:
    """How many entries a page may have.

    Raises:
        InvalidArgument: out of range.
    """
    if given > PAGE_SIZE_MAX:
        raise InvalidArgument("page_size", f"{given} is more than {PAGE_SIZE_MAX}")
    return given or PAGE_SIZE
