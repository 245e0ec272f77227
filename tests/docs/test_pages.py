"""Checks of the pages' blocks that need not run them."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mpsd.config.load import validate
from tests.docs.blocks import PAGES, ROOT, Block, blocks, missing

FOLDERS = ("/etc/mps/", "/run/secrets/")
SECRETS = {"APP_URL": "https://app.example.com/hooks/0", "WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 4}
SMALLEST = """
[kafka]
bootstrap_servers = ["127.0.0.1:9092"]
[[subscriptions]]
name = "billing"
topics = ["orders"]
group = "billing"
[subscriptions.delivery]
protocol = "rest"
url = "https://billing.example.com/orders"
"""


def of(language: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}:{block.line}")
        for page in PAGES
        for block in blocks(page.read_text(encoding="utf-8"))
        if block.language == language
    ]


def merged(base: Any, part: Any) -> Any:
    """Return a whole configuration with this part; pages show tables of a subscription without the subscription."""
    if isinstance(base, list) and isinstance(part, Mapping):
        return [merged(base[0], part), *base[1:]]
    if isinstance(base, Mapping) and isinstance(part, Mapping):
        return {**base, **{key: merged(base.get(key), value) for key, value in part.items()}}
    return part


def paths(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list):
        for value in tree:
            yield from paths(value)
    elif isinstance(tree, str) and tree.startswith("/"):
        yield tree


# The tools do what they should


def test_a_block_is_read_with_its_words() -> None:
    (block,) = blocks("Text\n\n```sh background=app\necho a\n```\n")
    assert block == Block("sh", {"background": "app"}, "echo a\n", 3)


def test_a_word_that_means_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 1: what is rum"):
        blocks("```sh rum\n```\n")


@pytest.mark.parametrize("said", ["a 1\nb\n", "x\na 22\ny\nb  \n"])
def test_shown_lines_may_have_others_between(said: str) -> None:
    assert not missing("a …\n…\nb\n", said)


@pytest.mark.parametrize(("said", "lacking"), [("b\na 1\n", ["b"]), ("a\nb\n", ["a …", "b"]), ("", ["a …", "b"])])
def test_a_shown_line_that_was_not_said_is_named(said: str, lacking: list[str]) -> None:
    assert missing("a …\nb\n", said) == lacking


def test_a_part_of_a_configuration_finds_its_place() -> None:
    assert merged({"a": [{"b": {"c": 1, "d": 2}}]}, {"a": {"b": {"c": 3}}}) == {"a": [{"b": {"c": 3, "d": 2}}]}


# The pages hold


@pytest.mark.parametrize("block", of("toml"))
def test_a_configuration_shown_is_valid(block: Block, tmp_path: Path) -> None:
    text = block.text
    for folder in FOLDERS:
        text = text.replace(folder, f"{tmp_path}/")
    tree = merged(tomllib.loads(SMALLEST), tomllib.loads(text))
    for path in paths(tree):
        Path(path).write_text("a file\n")
    environ = {name: SECRETS.get(name, "secret") for name in re.findall(r'env = "(\w+)"', text)}
    validate(tree, environ=environ, directory=tmp_path)


@pytest.mark.parametrize("block", of("python"))
def test_a_program_shown_is_python(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("block", of("json"))
def test_a_document_shown_is_json(block: Block) -> None:
    json.loads(block.text)


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs/README.md"
    linked = {(index.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+\.md)\)", index.read_text())}
    assert {page for page in PAGES if page.parent != ROOT} - {index} - linked == set()


def test_no_help_shows_the_marks_of_its_source() -> None:
    assert "\\b" not in (ROOT / "docs/reference/commands.md").read_text()
