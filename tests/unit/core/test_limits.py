from typing import Any

import pytest

from mpsd.core.control import Entity, OfSubscription, Provenance
from mpsd.core.limits import LIMIT, Limit

KEY = LIMIT.entity_key("group", OfSubscription("billing"))

WHO = Provenance("ann", "too fast", 1_000, "r-1", "here")


@pytest.mark.parametrize("rate", [None, 0, 0.5, 200.0])
@pytest.mark.parametrize("concurrency", [None, 1, 16])
def test_what_is_written_is_read_back(rate: float | None, concurrency: int | None) -> None:
    made = Limit(rate_max_per_s=rate, concurrency_max=concurrency, revision=5, provenance=WHO)
    assert LIMIT.parse(KEY, Entity(document=LIMIT.document(made), revision=5, provenance=WHO)) == made


@pytest.mark.parametrize(
    ("rate", "concurrency"),
    [("1", None), (True, None), (-1, None), (float("inf"), None), (None, 0), (None, 1.5), (None, True)],
)
def test_what_says_something_else_is_no_limit(rate: Any, concurrency: Any) -> None:
    document = {"rate_max_per_s": rate, "concurrency_max": concurrency}
    assert LIMIT.parse(KEY, Entity(document=document, revision=5, provenance=WHO)) is None


def test_a_subscription_has_one_limit() -> None:
    assert KEY == ("group", "limit", "billing")
