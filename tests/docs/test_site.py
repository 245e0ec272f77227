"""The copies of the pages that the site is built from."""

from pathlib import Path

import pytest

from docs.site.source import navigation, page_of_site, write

REPOSITORY = "https://example.com/project"


@pytest.mark.parametrize(
    ("link", "becomes"),
    [
        ("metrics.md", "metrics.md"),
        ("contract.md#verdicts", "contract.md#verdicts"),
        ("../README.md#to-learn", "../index.md#to-learn"),
        ("../../README.md#alternatives", f"{REPOSITORY}/blob/main/README.md#alternatives"),
        ("../../proto", f"{REPOSITORY}/tree/main/proto"),
        ("mps.schema.json", "mps.schema.json"),
        ("#labels", "#labels"),
        ("https://example.com/x#y", "https://example.com/x#y"),
        ("nowhere.md", "nowhere.md"),
        ("../../nowhere.md", "../../nowhere.md"),
    ],
)
def test_a_link_that_leaves_the_pages_leads_into_the_repository(link: str, becomes: str) -> None:
    assert page_of_site(f"See [it]({link}).\n", "reference/states.md", REPOSITORY) == f"See [it]({becomes}).\n"


def test_code_is_left_alone_and_comments_are_left_out() -> None:
    code = "```sh run\nmpsd <!-- x --> [a](../../README.md)\n```\n"
    assert page_of_site(f"<!-- generated -->\n\nText\n\n{code}", "how-to/x.md", REPOSITORY) == f"Text\n\n{code}"


def test_the_lists_of_the_first_page_are_the_navigation() -> None:
    listed = "- [One](tutorial/one.md): first\n- Part\n  - [Two](two.md)\n- [Other](../README.md)\n"
    assert (
        navigation(f"# Pages\n\n## To learn\n\n{listed}\n## Else\n\ntext\n")
        == "\n```{toctree}\n:hidden:\n:caption: To learn\n\ntutorial/one\ntwo\n```\n"
    )


def test_every_page_is_copied_and_what_was_there_before_is_not_kept(tmp_path: Path) -> None:
    stale = tmp_path / "gone.md"
    stale.touch()
    write(tmp_path)
    assert not stale.exists()
    assert "```{toctree}" in (tmp_path / "index.md").read_text()
    assert (tmp_path / "reference/mps.schema.json").exists()
    assert "<!--" not in (tmp_path / "reference/metrics.md").read_text()
