"""Content of records and answers as a viewer sees it: its existence, and not the content."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.access import HIDDEN, MARK, hide
from mpsd.listeners.tokens import Token, Tokens
from tests.fakes.steerable import TOKENS, bearer, served, tokens
from tests.unit.admin.test_servicer import billing, change, hold

KEY = b"customer 4711"
CONTENT = Tokens([Token.model_validate({"name": "ed", "role": "viewer", "content": True, "token": TOKENS["viewer"]})])


def bytes_in(message: Descriptor, above: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Fields of bytes in a message or below it, but for those below a field that is hidden as a whole."""
    for field in message.fields:
        if field.name in HIDDEN.get(message.name, ()):
            continue
        if field.type == FieldDescriptor.TYPE_BYTES:
            yield message.name, field.name
        elif field.message_type is not None and field.message_type.name not in above:
            yield from bytes_in(field.message_type, (*above, message.name))


def test_no_answer_has_bytes_of_a_record_that_are_not_hidden() -> None:
    answers = [method.output_type for method in pb.DESCRIPTOR.services_by_name["Admin"].methods]
    assert sorted({found for answer in answers for found in bytes_in(answer)}) == []


def test_where_something_is_hidden_it_is_said() -> None:
    messages = pb.DESCRIPTOR.message_types_by_name
    for name, fields in HIDDEN.items():
        assert {*fields, MARK} <= set(messages[name].fields_by_name), name


def test_only_what_was_there_is_marked() -> None:
    answer = pb.InspectResponse(lanes=[pb.Lane(key=b"k", value=b"v", records=2), pb.Lane(records=1)])
    hide(answer)
    assert answer == pb.InspectResponse(lanes=[pb.Lane(records=2, content_hidden=True), pb.Lane(records=1)])


def test_all_of_a_dead_letter_that_is_of_the_record_or_of_an_answer_is_hidden() -> None:
    dead_letter = pb.DeadLetter(key=KEY, reason="answered 422: amount missing", attempts=3)
    answer = pb.GetDeadLetterResponse(
        dead_letter=dead_letter,
        headers=[pb.Header(name="user", value=b"u")],
        excerpt=b"no such customer 4711",
        value=b"{}",
    )
    hide(answer)
    kept = pb.DeadLetter(reason="answered 422: amount missing", attempts=3, content_hidden=True)
    assert answer == pb.GetDeadLetterResponse(dead_letter=kept, content_hidden=True)


@pytest.mark.parametrize("who", ["viewer", "viewer with content", "operator"])
async def test_viewers_see_no_keys_unless_allowed_of_any_daemon(who: str) -> None:
    known = CONTENT if who == "viewer with content" else tokens()
    metadata = bearer("operator" if who == "operator" else "viewer")
    async with served(2, known=known) as (one, other):
        await hold(one, KEY)
        await hold(other, KEY, partition=1)
        answer = await one.stub.Inspect(pb.InspectRequest(selection=billing()), metadata=metadata)
        assert len(answer.lanes) == 2
        if who == "viewer":
            assert KEY not in answer.SerializeToString()
            assert all(lane.content_hidden and not lane.HasField("key") for lane in answer.lanes)
        else:
            assert [lane.key for lane in answer.lanes] == [KEY] * 2


async def test_a_pause_of_a_key_is_not_shown_as_a_pause_of_everything() -> None:
    async with served(known=tokens()) as (one,):
        await hold(one, KEY)
        request = pb.PauseRequest(change=change(), selection=billing(key=KEY))
        await one.stub.Pause(request, metadata=bearer("operator"))
        watch = one.stub.WatchStatus(pb.WatchStatusRequest(partitions=True), metadata=bearer("viewer"))
        status = (await watch.read()).status
        watch.cancel()
        assert KEY not in status.SerializeToString()
        for pause in status.subscriptions[0].pauses:
            assert pause.selection.content_hidden


async def test_viewers_do_not_group_dead_letters_by_key() -> None:
    async with served(known=tokens()) as (one,):
        request = pb.SummarizeDeadLettersRequest(subscription="billing", grouping=pb.DEAD_LETTER_GROUPING_KEY)
        call = one.stub.SummarizeDeadLetters(request, metadata=bearer("viewer"))
        assert await call.code() == grpc.StatusCode.PERMISSION_DENIED
        assert await one.stub.SummarizeDeadLetters(request, metadata=bearer("operator")).code() == grpc.StatusCode.OK
