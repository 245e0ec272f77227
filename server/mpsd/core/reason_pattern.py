"""A pattern of failure reasons that differ only in which record they are about.

    answered 422: body.items.17.price: Input should be a valid number      answered 422: body.items.#.price: Input should …
    answered 500: no customer 'ann' (request 4f1c9a0be7d2)                 answered 500: no customer '…' (request #)

Ten thousand dead letters with the same complaint about ten thousand records are one group.
"""

import re

_STATUS = re.compile(r"answered \d{3}\b")
_VARYING = re.compile(
    r"(?P<quoted>'[^']*'|\"[^\"]*\"|`[^`]*`)"
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b"
    r"|\d+"
)


def pattern_of(reason: str) -> str:
    """Return the reason with `#` for each number, UUID and hexadecimal id, and `…` for what is quoted; a status stays."""
    status = _STATUS.match(reason)
    end = status.end() if status is not None else 0
    return reason[:end] + _VARYING.sub(_general, reason[end:])


def _general(found: re.Match[str]) -> str:
    quoted = found["quoted"]
    return f"{quoted[0]}…{quoted[-1]}" if quoted else "#"
