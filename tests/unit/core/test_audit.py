import json
from typing import Any

import pytest

from mpsd.core.audit import AuditEntry, audit_value, parse_audit
from mpsd.core.control import Provenance

ENTRY = AuditEntry(Provenance("ann", "broken", 1_000, "r-1", "here"), 5, "Pause", "group", "billing", "all of it")


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(audit_value(ENTRY)), **fields}).encode()


def test_what_is_written_is_read_back() -> None:
    assert parse_audit(audit_value(ENTRY)) == ENTRY


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b"{}",
        changed(version=2),
        changed(more=1),
        changed(method=7),
        changed(provenance="ann"),
        changed(provenance={"who": "ann"}),
    ],
)
def test_what_others_wrote_is_no_entry(value: bytes | None) -> None:
    assert parse_audit(value) is None
