"""Resets over a real channel: said first, then written once, and refused where they make no sense."""

import time
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from mps.admin.v1 import admin_pb2 as pb
from tests.fakes.steerable import served
from tests.unit.admin.test_servicer import change, refused


def asked(**more: Any) -> pb.ResetRequest:
    return pb.ResetRequest(**{"change": change(), "subscription": "billing", **more})


def at(offset: int, topic: str = "orders", partition: int = 0) -> pb.RecordRef:
    return pb.RecordRef(topic=topic, partition=partition, offset=offset)


async def test_a_dry_run_says_what_would_be_and_changes_nothing() -> None:
    async with served() as (one,):
        answer = await one.stub.Reset(pb.ResetRequest(subscription="billing", edge=pb.LOG_EDGE_EARLIEST, dry_run=True))
        (part,) = answer.partitions
        assert (part.from_offset, part.to_offset, part.repeated_records, part.skipped_records) == (60, 10, 50, 0)
        assert (answer.id, answer.HasField("changed")) == ("", False)
        assert one.daemon.control.changes == []


async def test_a_reset_is_written_for_the_owners_under_an_id_of_its_request() -> None:
    async with served() as (one,):
        answer = await one.stub.Reset(asked(edge=pb.LOG_EDGE_LATEST))
        again = await one.stub.Reset(asked(edge=pb.LOG_EDGE_LATEST))
        other = await one.stub.Reset(asked(change=change(request_id="r2"), time=Timestamp(seconds=1)))
        assert answer.partitions[0].skipped_records == 50
        assert answer.changed.confirmed
        assert answer.id == again.id != other.id
        key, document, said = one.daemon.control.changes[0]
        assert key == ("billing", "reset", "billing")
        assert document == {"id": answer.id, "targets": [[["orders", 0], [110, 60]]]}
        assert said["method"] == "Reset"


async def test_the_same_request_is_answered_as_the_first_time_though_offsets_have_moved() -> None:
    async with served(2) as (one, other):
        first = await one.stub.Reset(asked(edge=pb.LOG_EDGE_EARLIEST))
        for each in (one, other):
            each.daemon.committed = 10
            again = await each.stub.Reset(asked(edge=pb.LOG_EDGE_EARLIEST))
            assert (again.id, again.changed.revision) == (first.id, first.changed.revision)
            assert list(again.partitions) == list(first.partitions)
        assert first.partitions[0].repeated_records == 50


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({}, "to"),
        ({"edge": pb.LOG_EDGE_UNSPECIFIED}, "edge"),
        ({"time": Timestamp(seconds=int(time.time()) + 3600)}, "time"),
        ({"time": Timestamp(seconds=1 << 60)}, "time"),
        ({"time": Timestamp(seconds=-1)}, "time"),
        ({"offsets": pb.Offsets()}, "offsets.offsets"),
        ({"offsets": pb.Offsets(offsets=[at(1), at(-1, partition=1)])}, "offsets.offsets[1].offset"),
        ({"offsets": pb.Offsets(offsets=[at(1), at(2)])}, "offsets.offsets[1]"),
        ({"offsets": pb.Offsets(offsets=[at(111)])}, "offsets.offsets[0].offset"),
        ({"offsets": pb.Offsets(offsets=[at(111)]), "dry_run": True}, "offsets.offsets[0].offset"),
        ({"edge": pb.LOG_EDGE_LATEST, "change": pb.Change(request_id="r")}, "change.reason"),
    ],
)
async def test_what_makes_no_sense_is_named_by_its_field(more: dict[str, Any], field: str) -> None:
    async with served() as (one,):
        code, _, _, bad = await refused(one.stub.Reset(asked(**more)))
        assert (code, bad.field_violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


@pytest.mark.parametrize(
    ("place", "said"),
    [(at(1, topic="order"), "orders"), (at(1, partition=4), "0 to 3"), (at(1, partition=-1), "0 to 3")],
)
async def test_what_is_not_there_is_answered_with_what_is(place: pb.RecordRef, said: str) -> None:
    async with served() as (one,):
        code, words, _, _ = await refused(one.stub.Reset(asked(offsets=pb.Offsets(offsets=[place]))))
        assert code == grpc.StatusCode.NOT_FOUND
        assert said in words
