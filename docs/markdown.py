"""Tables, lists and paragraphs of Markdown, with no line wider than a page."""

import re
from collections.abc import Iterable, Iterator

WIDTH = 120
"""Characters of a line; `tests/docs/test_prose.py` holds every page to the same width."""
_WORD = re.compile(r"(?:`[^`]*`|\S)+(?: (?:\d+[.)]|[-+*>#]+)(?=\s|$))*")
"""A word of a text. A code span belongs to one word, so that it is never broken. So does what would begin a list, a title or a
quotation at the beginning of a line, such as the `0.` at the end of a sentence."""


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Return the lines of a table, and an empty one behind it; for cells that are short."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def entries(rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Return the lines of a list of name, kind and text, and an empty one behind it; for texts of any length."""
    yield from (item(f"**`{name}`** ({kind}): {text}") for name, kind, text in rows)
    yield ""


def item(text: str) -> str:
    """Return the text as an item of a list, in lines that fit a page."""
    return "\n".join(_filled(f"- {text}", "  "))


def paragraph(text: str) -> str:
    """Return the text in lines that fit a page; its own line breaks are spaces."""
    return "\n".join(_filled(text, ""))


def _filled(text: str, indent: str) -> Iterator[str]:
    line = ""
    for word in _WORD.findall(text):
        if line and len(line) + 1 + len(word) > WIDTH:
            yield line
            line = indent + word
        else:
            line = f"{line} {word}" if line else word
    yield line
