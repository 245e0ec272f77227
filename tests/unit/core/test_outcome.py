import pytest

from mpsd.core.outcome import DELIVERED, Outcome, code_of
from tests.fakes.records import BUSY, LOST, POISON, TAKEN_BACK, TOO_WIDE


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (DELIVERED, "delivered"),
        (TAKEN_BACK, "withdrawn"),
        (LOST, "connection_lost"),
        (POISON, "status_422"),
        (BUSY, "status_503"),
        (TOO_WIDE, "headers_too_large"),
    ],
)
def test_every_outcome_has_a_word_for_its_metric(outcome: Outcome, code: str) -> None:
    assert code_of(outcome) == code
