from typing import Any

import pytest

from mpsd.core.brake import BRAKE, BrakeRecord, BrakeState
from mpsd.core.control import Entity, OfSubscription, Provenance

ANNA = Provenance("anna", "bad import", 5, "r1", "a:7070")
SAID = BRAKE.document(
    BrakeRecord(state=BrakeState.ENGAGED, since_ms=1_000, at_ms=2_000, rejections=100, reason="no such field", writer=7)
)
KEY = BRAKE.entity_key("g", OfSubscription("billing"))


def test_a_brake_is_read_as_it_was_written() -> None:
    found = BRAKE.parse(KEY, Entity(document=SAID, revision=42, provenance=ANNA))
    assert found is not None
    assert (found.state, found.since_ms, found.rejections) == (BrakeState.ENGAGED, 1_000, 100)
    assert found.at_ms == 2_000
    assert (found.reason, found.writer, found.revision, found.provenance) == ("no such field", 7, 42, ANNA)


def test_each_subscription_of_a_group_has_one() -> None:
    assert KEY == ("g", "brake", "billing")


@pytest.mark.parametrize(
    "wrong",
    [{"state": "open"}, {"state": None}, {"reason": 5}, {"since_ms": "1"}, {"rejections": -1}, {"writer": True}],
)
def test_what_a_foreign_record_says_is_no_brake(wrong: dict[str, Any]) -> None:
    assert BRAKE.parse(KEY, Entity(document={**SAID, **wrong}, revision=1, provenance=ANNA)) is None
