"""The generated pages are those that the code makes, and say what one looks for."""

import pytest

from docs.configuration import configuration_page
from docs.generate import stale
from docs.markdown import WIDTH, item


def test_generated_pages_have_not_drifted() -> None:
    assert stale() == [], "run: make docs"


@pytest.mark.parametrize("key", ["session_timeout_ms", "## subscriptions.retry", "MPS_KAFKA_<KEY>", "**required**"])
def test_the_page_has_what_one_looks_for(key: str) -> None:
    assert key in configuration_page()


@pytest.mark.parametrize("marker", ["0.", "12)", "-", "#", ">", "*"])
def test_no_line_of_an_item_begins_with_a_marker_of_markdown(marker: str) -> None:
    for length in range(WIDTH - 10, WIDTH + 2):
        first, *others = item("x" * length + f" overlaps {marker} The next sentence.").splitlines()
        assert all(not line.startswith(f"  {marker} ") for line in others), first
