"""The glossary is true of the code, and every page uses its words."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from docs.glossary import terms
from tests.test_tidy import MARKDOWN, ROOT

TERMS = terms()
REJECTED = sorted({word for term in TERMS.values() for word in term.get("not", [])})
PATTERN = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, REJECTED))})(?![\w-])", re.IGNORECASE)


def rejected_words(text: str) -> Iterator[tuple[int, str]]:
    """Yield each rejected word with its line number."""
    for number, line in enumerate(text.splitlines(), 1):
        yield from ((number, found[0]) for found in PATTERN.finditer(line))


def test_a_rejected_word_is_found_and_its_parts_are_not() -> None:
    assert list(rejected_words("It was buried.\nA held\nkey, and the keys held. Burying.")) == [
        (1, "buried"),
        (3, "Burying"),
    ]


@pytest.mark.parametrize("file", [*MARKDOWN, ROOT / "docs/codes.toml"], ids=lambda file: str(file.relative_to(ROOT)))
def test_a_page_uses_the_words_of_the_glossary(file: Path) -> None:
    assert list(rejected_words(file.read_text())) == []


@pytest.mark.parametrize("name", [name for name, term in TERMS.items() if "code" in term])
def test_a_term_stands_for_something_in_the_code(name: str) -> None:
    path = TERMS[name]["code"]
    module, _, attribute = path.rpartition(".")
    assert hasattr(import_module(module), attribute) if attribute[0].isupper() else import_module(path)


def test_every_term_is_defined_in_whole_sentences() -> None:
    assert [name for name, term in TERMS.items() if not re.fullmatch(r"[A-Z].*\.", term["means"])] == []
