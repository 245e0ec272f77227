"""The generated pages are those that the code makes, and say what one looks for."""

import pytest

from docs.configuration import configuration_page
from docs.generate import stale


def test_generated_pages_have_not_drifted() -> None:
    assert stale() == [], "run: make docs"


@pytest.mark.parametrize("key", ["session_timeout_ms", "## subscriptions.retry", "MPS_KAFKA_<KEY>", "**required**"])
def test_the_page_has_what_one_looks_for(key: str) -> None:
    assert key in configuration_page()
