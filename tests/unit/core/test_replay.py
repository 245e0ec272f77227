import json
from dataclasses import replace
from typing import Any

import pytest

from mpsd.core.control import Entity, Provenance
from mpsd.core.dead_letter_record import DeadLetterFilter, DeadLetterRecord, parse
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay import REPLAY, STRANGERS, ReplayPlan, ReplayState, ReplayTarget, ReplayTask, task_key
from mpsd.core.replay_progress import total
from mpsd.core.retry import Disposition
from tests.fakes.replays import dead_letter

WANTED = DeadLetterFilter(
    since_ms=1, until_ms=2, dispositions=frozenset({Disposition.BLOCKED}), statuses=frozenset({422}), reason_contains="x",
    topic="orders", partition=0, key=b"\xff",
)  # fmt: skip
PLAN = ReplayPlan(
    filter=WANTED, target=ReplayTarget.TOPIC, rate_max_per_s=2.5, records_max=7, again=True, include_quarantined=True
)
PROVENANCE = Provenance("ann", "fixed", 5, "id", "a:1")
TASK = ReplayTask(
    id="r1", group="g", subscription="billing", plan=PLAN, bounds=(LogBounds(3, 9), LogBounds(0, 0)),
    sources={"orders": 3}, state=ReplayState.PAUSED, reason="wait", started_at_ms=11, ended_at_ms=None, revision=4,
    provenance=PROVENANCE, started_by="ann", started_reason="repaired",
)  # fmt: skip


def entity(**changes: Any) -> Entity:
    document = json.loads(json.dumps(TASK.document()))
    return Entity(document={**document, **changes}, revision=4, provenance=PROVENANCE)


def test_a_task_is_read_back_as_it_was_written() -> None:
    found = REPLAY.parse(TASK.key, entity())
    assert found == replace(TASK, bounds=[LogBounds(3, 9), LogBounds(0, 0)])
    plain = replace(TASK, plan=ReplayPlan(), ended_at_ms=12, state=ReplayState.DONE)
    again = REPLAY.parse(plain.key, Entity(document=plain.document(), revision=4, provenance=PROVENANCE))
    assert again is not None
    assert (again.plan, again.ended_at_ms, again.state.is_over) == (ReplayPlan(), 12, True)
    assert not TASK.state.is_over


def test_a_task_of_a_version_that_did_not_say_who_started_it_is_read() -> None:
    older = entity()
    document = {name: value for name, value in older.document.items() if name not in {"started_by", "started_reason"}}
    found = REPLAY.parse(TASK.key, Entity(document=document, revision=4, provenance=PROVENANCE))
    assert found is not None
    assert (found.started_by, found.started_reason) == ("", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "asleep"},
        {"plan": {"target": "elsewhere"}},
        {"plan": None},
        {"plan": {"filter": None}},
        {"plan": {"filter": {"dispositions": "blocked"}}},
        {"plan": {"filter": {"dispositions": ["eaten"]}}},
        {"plan": {"rate_max_per_s": -1}},
        {"bounds": [[1]]},
        {"bounds": []},
        {"bounds": [[9, 3]]},
        {"sources": {"orders": 0}},
        {"started_at_ms": None},
        {"started_by": 7},
    ],
)
def test_what_is_no_task_is_none(changes: dict[str, Any]) -> None:
    assert REPLAY.parse(TASK.key, entity(**changes)) is None


def test_a_key_of_another_form_is_none() -> None:
    assert REPLAY.parse(("g", "replay", "billing"), entity()) is None
    assert REPLAY.parse(task_key("g", "billing", ""), entity()) is None


def test_the_dead_letters_of_a_source_partition_are_in_one_partition() -> None:
    assert [TASK.dead_letter_partition(source) for source in TASK.partitions()] == [0, 1, 0]
    assert list(TASK.partitions()) == [TopicPartition("orders", number) for number in range(3)]


def test_what_came_back_often_is_quarantined_unless_asked_for() -> None:
    found = parse(dead_letter(0, 1, replays=3))
    assert isinstance(found, DeadLetterRecord)
    assert ReplayPlan().wants(found)
    assert ReplayPlan().quarantines(found, 3)
    assert not ReplayPlan().quarantines(found, 4)
    assert not PLAN.quarantines(found, 3)
    assert not PLAN.wants(found)


def parts(partitions: int, dead_letter_partitions: int) -> list[tuple[str, int, int, int, bool]]:
    bounds = [LogBounds(0, 9)] * dead_letter_partitions
    task = replace(TASK, bounds=bounds, sources={"orders": partitions} if partitions else {})
    return [
        (part.source.topic, part.source.partition, part.number, part.owner.partition, part.takes_strangers)
        for part in task.parts()
    ]


def test_each_owner_has_the_dead_letters_of_its_partition_and_one_of_them_those_of_strangers() -> None:
    assert parts(2, 2) == [("orders", 0, 0, 0, True), ("orders", 1, 1, 1, True)]
    assert parts(3, 2) == [("orders", 0, 0, 0, True), ("orders", 1, 1, 1, True), ("orders", 2, 0, 2, False)]


def test_a_dead_letter_partition_without_a_source_is_given_to_an_owner() -> None:
    assert parts(1, 3) == [("orders", 0, 0, 0, True), (STRANGERS, 1, 1, 0, True), (STRANGERS, 2, 2, 0, True)]


def test_a_task_without_a_source_has_no_part_and_is_never_done() -> None:
    assert parts(0, 3) == []
    assert not total(replace(TASK, sources={}), {}).is_done
