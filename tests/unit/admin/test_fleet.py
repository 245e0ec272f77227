"""Reports on an instance that did not answer."""

import pytest

from mpsd.admin.fleet import why


@pytest.mark.parametrize(
    ("details", "said"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.2:7171: Failed to connect: refused",
            "Failed to connect: refused",
        ),
        ("Socket closed", "Socket closed"),
        ("last error: ", "last error: "),
    ],
)
def test_the_words_of_the_library_are_cut_to_what_they_say(details: str, said: str) -> None:
    assert why(details) == said
