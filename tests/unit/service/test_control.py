"""Changes of the control state, over a topic in memory."""

import asyncio
import logging
from typing import Any

import pytest

from mpsd.core.control import Entity, EntityKey, key_bytes, value_bytes
from mpsd.errors import ControlOff, ControlUnavailable, RequestIdReused, RevisionConflict
from mpsd.ports import ControlRecord
from mpsd.service.control import ControlPlane
from tests.fakes.control import FakeAudit, FakeControlLog, FakeControlTopic
from tests.virtual_time import in_virtual_time

KEY: EntityKey = ("group", "pause", "billing")
OTHER: EntityKey = ("group", "pause", "orders")
DOWN = ControlUnavailable("not now")


class Steered:
    """A plane, what it is connected to, and what its listener heard."""

    def __init__(self, topic: FakeControlTopic) -> None:
        self.log, self.audit = FakeControlLog(topic), FakeAudit()
        self.plane = ControlPlane(self.log, self.audit, ["group"], "here", lambda: 1.5)
        self.heard: list[tuple[EntityKey, Entity | None]] = []
        self.plane.listen("pause", lambda key, entity: self.heard.append((key, entity)))

    async def change(self, key: EntityKey = KEY, document: Any = None, **said: Any) -> int:
        told: dict[str, Any] = {
            "who": "ann",
            "reason": "broken",
            "request_id": "",
            "method": "Pause",
            "description": "d",
        }
        return await self.plane.change(key, {} if document is None else document, **{**told, **said})


async def steered(topic: FakeControlTopic | None = None) -> Steered:
    made = Steered(topic or FakeControlTopic())
    await made.plane.start()
    return made


@in_virtual_time
async def test_there_is_something_to_take_back_until_somebody_else_has() -> None:
    at = await steered()
    assert not await at.plane.is_set(KEY, "r2")
    await at.change(request_id="r1")
    assert await at.plane.is_set(KEY, "r2")
    await at.plane.change(KEY, None, who="", reason="", request_id="r2", method="", description="")
    assert await at.plane.is_set(KEY, "r2"), "the same request again: its answer was lost"
    assert not await at.plane.is_set(KEY, "r3")


@in_virtual_time
async def test_a_change_is_applied_told_and_kept_in_the_history_before_it_returns() -> None:
    at = await steered()
    assert at.plane.revision == -1
    revision = await at.change(document={"until_ms": 3})
    assert revision == at.plane.revision == 1
    ((key, entity),) = at.heard
    assert (key, entity) == (KEY, at.plane.state.get(KEY))
    assert entity is not None
    assert (entity.document, entity.revision) == ({"until_ms": 3}, 1)
    (entry,) = at.audit.entries
    assert (entry.provenance, entry.revision, entry.subscription) == (entity.provenance, 1, "billing")
    assert tuple(entity.provenance) == ("ann", "broken", 1_500, "", "here")


@in_virtual_time
async def test_the_same_request_is_done_once() -> None:
    at = await steered()
    revision = await at.change(request_id="r")
    assert await at.change(request_id="r", expected_revision=0) == revision
    assert len(at.log.topic.records) == len(at.audit.entries) == 1
    with pytest.raises(RequestIdReused):
        await at.change(OTHER, request_id="r")


@in_virtual_time
async def test_a_change_of_what_has_changed_is_refused() -> None:
    at = await steered()
    revision = await at.change(expected_revision=0)
    for expected in (0, revision + 1):
        with pytest.raises(RevisionConflict, match="nothing was changed") as refused:
            await at.change(expected_revision=expected)
        assert (refused.value.current, refused.value.state["who"]) == (revision, "ann")
    assert len(at.log.topic.records) == 1
    await at.change(expected_revision=revision)
    with pytest.raises(RevisionConflict, match="not set"):
        await at.change(OTHER, expected_revision=1)


@in_virtual_time
async def test_a_change_between_check_and_write_is_reported() -> None:
    topic = FakeControlTopic()
    at, other = await steered(topic), await steered(topic)
    first, second = await asyncio.gather(
        at.change(expected_revision=0), other.change(expected_revision=0), return_exceptions=True
    )
    assert first == 1
    assert isinstance(second, RevisionConflict)
    assert second.current == 2
    assert "holds now" in str(second)
    assert len(other.audit.entries) == 1, "it was made: the history has it"


@in_virtual_time
async def test_what_came_between_does_not_matter_to_who_expects_nothing() -> None:
    topic = FakeControlTopic()
    at, other = await steered(topic), await steered(topic)
    assert sorted(await asyncio.gather(at.change(), other.change())) == [1, 2]


@in_virtual_time
async def test_a_change_that_is_not_applied_is_an_error() -> None:
    at = await steered()
    at.plane.state._entities_max = 0
    with pytest.raises(ControlUnavailable, match="not applied"):
        await at.change()


@in_virtual_time
async def test_what_the_daemon_remembers_needs_no_revision() -> None:
    at = await steered()
    assert await at.plane.record([(KEY, {"a": 1}), (OTHER, None)]) == 2
    await at.plane.read_to_end()
    assert at.plane.state.get(KEY) is not None
    assert at.heard[-1] == (OTHER, None)
    assert not at.audit.entries


@in_virtual_time
async def test_trouble_with_the_history_undoes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    at = await steered()
    at.audit.error = DOWN
    with caplog.at_level(logging.INFO):
        assert await at.change() == 1
    assert [record.__dict__["code"] for record in caplog.records] == ["control.changed", "control.audit_failed"]


@in_virtual_time
async def test_who_must_read_waits_until_it_can() -> None:
    at = await steered()
    at.log.error = DOWN
    with pytest.raises(ControlUnavailable):
        await at.plane.read_to_end()
    with pytest.raises(ControlUnavailable):
        await at.change()
    assert at.plane.waiting_for() == "not now"
    reading = asyncio.create_task(at.plane.must_read_to_end())
    await asyncio.sleep(5.0)
    assert not reading.done()
    at.log.error = None
    await reading


@in_virtual_time
async def test_without_a_topic_nothing_waits_and_nothing_can_be_changed() -> None:
    plane = ControlPlane(None, None, ["group"], "here")
    await plane.start()
    await plane.must_read_to_end()
    assert (plane.is_on, plane.waiting_for(), plane.revision) == (False, "", -1)
    with pytest.raises(ControlOff):
        await plane.record([(KEY, {})])
    with pytest.raises(ControlOff):
        await plane.change(KEY, {}, who="", reason="", request_id="", method="", description="")
    await plane.close()


@in_virtual_time
async def test_a_topic_that_is_recreated_gets_what_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    at = await steered()
    await at.change(document={"n": 1})
    await at.change(OTHER, document={"n": 2})
    at.log.recreated()
    at.log.topic.records.append(ControlRecord(key_bytes(OTHER), value_bytes({"n": 3})))
    at.log.error = DOWN
    await asyncio.sleep(2.0)
    assert at.plane.state.get(KEY) is not None, "what was decided holds on"
    at.log.error = None
    await asyncio.sleep(2.0)
    await at.plane.read_to_end()
    found = {record.key: record.value for record in at.log.topic.records}
    assert found == {key_bytes(KEY): value_bytes({"n": 1}), key_bytes(OTHER): value_bytes({"n": 3})}
    entity = at.plane.state.get(KEY)
    assert entity is not None
    assert entity.provenance.who == "ann"
    await at.plane.close()
    assert at.log.is_closed
    assert at.audit.is_closed


@in_virtual_time
async def test_records_of_others_are_told_of_and_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    at = await steered()
    at.log.topic.records += [ControlRecord(b"x", b"y"), ControlRecord(key_bytes(KEY), b'{"version":9}')]
    await at.plane.read_to_end()
    assert not at.heard
    assert [record.__dict__["code"] for record in caplog.records] == ["control.record_ignored"] * 2
