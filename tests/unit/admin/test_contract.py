"""Rules for many calls of the admin service: error details, pages, deadlines, the state of the control topic."""

import time
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo
from google.rpc.status_pb2 import Status as RpcStatus
from grpc import aio

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.validation import page_token
from mpsd.core.control import key_bytes
from mpsd.core.pauses import PAUSE, Scope
from mpsd.errors import ControlUnavailable
from mpsd.listeners.grpc_errors import DETAILS_KEY
from mpsd.ports import AuditPage, ControlRecord
from tests.fakes.control import FakeControlTopic
from tests.fakes.replays import FakeDeadLetterLog
from tests.fakes.steerable import served
from tests.unit.admin.test_requests import CHANGES, dead_letters, methods, started
from tests.unit.admin.test_servicer import billing, change, hold

LISTS: dict[str, Message] = {
    "Inspect": pb.InspectRequest(selection=billing()),
    "ListDeadLetters": pb.ListDeadLettersRequest(subscription="billing"),
    "ListReplays": pb.ListReplaysRequest(),
    "ListAudit": pb.ListAuditRequest(),
}
"""Everything that has pages."""


async def details(call: Any) -> tuple[grpc.StatusCode, dict[type, Any]]:
    """Return the code, and the details by type."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    found: dict[type, Any] = {}
    for name, packed in caught.value.trailing_metadata() or ():
        if name == DETAILS_KEY:
            assert isinstance(packed, bytes)
            for each in RpcStatus.FromString(packed).details:
                for kind in (ErrorInfo, BadRequest, ResourceInfo):
                    detail = kind()
                    if each.Unpack(detail):
                        found[kind] = detail
    return caught.value.code(), found


def test_every_list_is_tried() -> None:
    known = {each.name: each.input_type.fields_by_name for each in pb.DESCRIPTOR.services_by_name["Admin"].methods}
    assert {name for name, fields in known.items() if "page_token" in fields} == LISTS.keys()


@pytest.mark.parametrize("method", LISTS)
@pytest.mark.parametrize(
    ("field", "value"),
    [("page_token", "x"), ("page_token", page_token("other", 1)), ("page_token", "=" * 70_000), ("page_size", 1_001)],
)
async def test_a_page_that_cannot_be_is_named_by_its_field(method: str, field: str, value: Any) -> None:
    async with served(1) as (one,):
        request = type(LISTS[method])()
        request.CopyFrom(LISTS[method])
        setattr(request, field, value)
        code, found = await details(getattr(one.stub, method)(request))
        assert (code, found[ErrorInfo].reason) == (grpc.StatusCode.INVALID_ARGUMENT, "admin.invalid_argument")
        assert [each.field for each in found[BadRequest].field_violations] == [field]


async def test_pages_of_replays_show_each_once_the_newest_first() -> None:
    async with served(1, dead_letters=dead_letters()) as (one,):
        ids = [(await started(one, f"start {number}")).replay.id for number in range(5)]
        seen: list[pb.Replay] = []
        token = ""
        while True:
            answer = await one.stub.ListReplays(pb.ListReplaysRequest(page_size=2, page_token=token))
            assert len(answer.replays) <= 2
            seen += answer.replays
            if not (token := answer.next_page_token):
                break
        assert sorted(each.id for each in seen) == sorted(ids)
        times = [each.started_at.ToMilliseconds() for each in seen]
        assert times == sorted(times, reverse=True)


async def test_pages_of_the_history_go_on_where_the_last_ended() -> None:
    async with served(1) as (one,):
        asked: list[int | None] = []

        async def page(before: int | None, *_: Any) -> AuditPage:
            asked.append(before)
            return AuditPage((), 7 if before is None else None)

        one.daemon.control.kept.page = page  # type: ignore[method-assign, assignment]
        first = await one.stub.ListAudit(pb.ListAuditRequest())
        last = await one.stub.ListAudit(pb.ListAuditRequest(page_token=first.next_page_token))
        assert (asked, last.next_page_token) == ([None, 7], "")


@pytest.mark.parametrize(
    ("call", "kind", "name"),
    [
        (("GetStatus", pb.GetStatusRequest(subscription="biling")), "subscription", "biling"),
        (("GetReplay", pb.GetReplayRequest(id="r0")), "replay", "r0"),
        (("Pause", pb.PauseRequest(change=change(), selection=billing(topic="odrers"))), "topic", "odrers"),
        (("Pause", pb.PauseRequest(change=change(), selection=billing(topic="orders", partition=9))), "partition",
         "orders/9"),
        (("GetDeadLetter", pb.GetDeadLetterRequest(subscription="billing", source=pb.RecordRef(topic="orders"))),
         "dead letter", "orders/0@0"),
    ],
)  # fmt: skip
async def test_what_is_not_there_is_named_for_programs(call: tuple[str, Any], kind: str, name: str) -> None:
    async with served() as (one,):
        code, found = await details(getattr(one.stub, call[0])(call[1]))
        assert (code, found[ErrorInfo].reason) == (grpc.StatusCode.NOT_FOUND, "admin.not_found")
        assert (found[ResourceInfo].resource_type, found[ResourceInfo].resource_name) == (kind, name)


async def test_who_expects_another_revision_is_told_what_there_is() -> None:
    async with served(2) as (one, other):
        made = await other.stub.Pause(CHANGES["Pause"](change(request_id="first", reason="deploying")))
        late = CHANGES["Pause"](change(expected_revision=0))
        code, found = await details(one.stub.Pause(late))
        said = dict(found[ErrorInfo].metadata)
        assert (code, found[ErrorInfo].reason) == (grpc.StatusCode.FAILED_PRECONDITION, "control.revision_conflict")
        assert (said["revision"], said["who"], said["reason"]) == (str(made.changed.revision), "local", "deploying")
        assert "until_ms" in said["state"]
        assert methods(one, other) == ["Pause"]


@pytest.mark.parametrize("method", ["Pause", "StartReplay"])
async def test_a_change_is_answered_within_the_callers_deadline_confirmed_or_not(method: str) -> None:
    async with served(1, dead_letters=FakeDeadLetterLog(), silent=1, confirm_timeout_s=60, peer_timeout_s=60) as (one,):
        answer = await getattr(one.stub, method)(CHANGES[method](change()), timeout=3)
        assert not answer.changed.confirmed
        assert sorted(each.answered for each in answer.changed.instances) == [False, True]
        assert methods(one) == [method]


async def test_a_control_topic_that_cannot_be_read_is_said_and_what_is_known_holds() -> None:
    async with served(2, confirm_timeout_s=0.5) as (one, other):
        await hold(other, b"a")
        await one.stub.Pause(CHANGES["Pause"](change()))
        other.daemon.control.log.error = ControlUnavailable("the control topic has no leader")
        status = (await one.stub.GetStatus(pb.GetStatusRequest())).status
        problems = {each.address: each.problem for each in status.instances}
        assert (
            "the control topic cannot be read, and the changes read before stay in effect: the control topic has no leader"
            in problems.pop(other.address)
        )
        assert set(problems.values()) == {""}
        assert len(status.subscriptions[0].pauses) == 1
        begin_s = time.monotonic()
        code, found = await details(other.stub.Resume(CHANGES["Resume"](change(request_id="r2"))))
        assert (code, found[ErrorInfo].reason) == (grpc.StatusCode.UNAVAILABLE, "control.unavailable")
        assert time.monotonic() - begin_s < 30


async def test_control_records_that_are_not_understood_are_counted_and_found() -> None:
    topic = FakeControlTopic()
    key = key_bytes(PAUSE.entity_key("billing", Scope("billing")))
    topic.records += [ControlRecord(b"no key of ours", b"x"), ControlRecord(key, b'{"version":9,"until_ms":null}')]
    async with served(1, topic=topic) as (one,):
        await one.daemon.control.read_to_end()
        status = (await one.stub.GetStatus(pb.GetStatusRequest())).status
        assert status.instances[0].control_records_ignored == 2
        assert not status.subscriptions[0].pauses
        (found,) = (await one.stub.Diagnose(pb.DiagnoseRequest())).findings
        assert (found.code, found.severity) == ("control.record_ignored", pb.SEVERITY_WARNING)
        assert "1 unreadable-key, 1 other-version" in found.message
