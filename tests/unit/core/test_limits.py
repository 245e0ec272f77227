from typing import Any

import pytest

from mpsd.core.control import Entity, Provenance
from mpsd.core.limits import Limit, document, entity_key, parse

WHO = Provenance("ann", "too fast", 1_000, "r-1", "here")


@pytest.mark.parametrize("rate", [None, 0, 0.5, 200.0])
@pytest.mark.parametrize("concurrency", [None, 1, 16])
def test_what_is_written_is_read_back(rate: float | None, concurrency: int | None) -> None:
    entity = Entity(document=document(rate, concurrency), revision=5, provenance=WHO)
    assert parse(entity) == Limit(rate_max_per_s=rate, concurrency_max=concurrency, revision=5, provenance=WHO)


@pytest.mark.parametrize(
    ("rate", "concurrency"),
    [("1", None), (True, None), (-1, None), (float("inf"), None), (None, 0), (None, 1.5), (None, True)],
)
def test_what_says_something_else_is_no_limit(rate: Any, concurrency: Any) -> None:
    assert parse(Entity(document=document(rate, concurrency), revision=5, provenance=WHO)) is None


def test_a_subscription_has_one_limit() -> None:
    assert entity_key("group", "billing") == ("group", "limit", "billing")
