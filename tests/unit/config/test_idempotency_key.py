"""Sources of idempotency keys: the record's id, or one named header."""

import pytest
from pydantic import TypeAdapter, ValidationError

from mpsd.config import idempotency_header
from mpsd.config.values import RECORD_HEADER_CHARS_MAX, IdempotencyKey


@pytest.mark.parametrize(
    ("source", "header"),
    [
        ("record", ""),
        ("header:order-id", "order-id"),
        ("header:a:b", "a:b"),
        ("header:Bestellnummer für uns", "Bestellnummer für uns"),
        (f"header:{'x' * RECORD_HEADER_CHARS_MAX}", "x" * RECORD_HEADER_CHARS_MAX),
    ],
)
def test_a_source_is_the_record_or_a_header(source: str, header: str) -> None:
    assert TypeAdapter(IdempotencyKey).validate_python(source) == source
    assert idempotency_header(source) == header


@pytest.mark.parametrize(
    "source",
    [
        "",
        "header",
        "header:",
        "order-id",
        "value:id",
        "Record",
        "header:a\n",
        f"header:{'x' * (RECORD_HEADER_CHARS_MAX + 1)}",
    ],
)
def test_any_other_source_is_refused_with_what_it_may_be(source: str) -> None:
    with pytest.raises(ValidationError, match='must be "record" or "header:" and the name of a record header of 128'):
        TypeAdapter(IdempotencyKey).validate_python(source)
