"""The fenced blocks of a page: what they are, and what is to be done with them.

docs/decisions/checked-docs.md says what the words of an info string mean.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
KNOWN = {"run", "poll", "background", "end", "output", "file"}
ANYTHING = "…"


class Block(NamedTuple):
    """One fenced block.

    Attributes:
        words: of the info string behind the language, with their values, empty where there is none.
        line: of the page, where it begins.
    """

    language: str
    words: Mapping[str, str]
    text: str
    line: int


def blocks(markdown: str) -> list[Block]:
    """All blocks in order.

    Raises:
        ValueError: an info string has a word that means nothing.
    """
    found = []
    for fence in FENCE.finditer(markdown):
        language, *words = shlex.split(fence["info"]) or [""]
        pairs = {name: value for name, _, value in (word.partition("=") for word in words)}
        line = markdown.count("\n", 0, fence.start()) + 1
        if strange := pairs.keys() - KNOWN:
            raise ValueError(f"line {line}: what is {', '.join(sorted(strange))}?")
        found.append(Block(language, pairs, fence["text"], line))
    return found


def missing(shown: str, said: str) -> Sequence[str]:
    """Lines that a page shows and that were not said, in this order; lines that it leaves out may lie between."""
    lines = iter(said.splitlines())
    wanted = [line for line in shown.splitlines() if line.strip() not in {"", ANYTHING}]
    return [line for line in wanted if not any(_fits(line, each) for each in lines)]


def _fits(shown: str, said: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in shown.rstrip().split(ANYTHING))
    return re.fullmatch(pattern, said.rstrip()) is not None
