"""The admin service over real channels: one daemon, and several."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status as RpcStatus
from grpc import aio

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.daemon import Finding, GroupPosition
from mpsd.core.record import TopicPartition
from mpsd.errors import ControlUnavailable, KafkaUnavailable
from mpsd.listeners.grpc_errors import DETAILS_KEY
from mpsd.ports import Peer
from tests.fakes.records import FAILED
from tests.fakes.steerable import Served, bearer, served, settled, tokens

INSTANCE = pb.SCOPE_INSTANCE
TRIES_MAX = 20


def change(**more: Any) -> pb.Change:
    return pb.Change(**{"request_id": "r1", "reason": "the endpoint is on fire", **more})


def billing(**more: Any) -> pb.Selection:
    return pb.Selection(subscription="billing", **more)


async def refused(call: Any) -> tuple[grpc.StatusCode, str, ErrorInfo, BadRequest]:
    """Return the code, the message and the details of a call that fails."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    info, bad = ErrorInfo(), BadRequest()
    for name, value in caught.value.trailing_metadata() or ():
        if name == DETAILS_KEY:
            for detail in RpcStatus.FromString(value if isinstance(value, bytes) else value.encode()).details:
                detail.Unpack(info) or detail.Unpack(bad)
    return caught.value.code(), caught.value.details() or "", info, bad


async def hold(one: Served, *keys: bytes | None, partition: int = 0) -> None:
    """Produce records that stay in flight at the application."""
    one.pipe.adapter.answer = lambda _: None
    one.pipe.source.assign(partition)
    one.pipe.source.produce(*keys, partition=partition)
    await settled()


async def status_of_all_but_one(asked: Served) -> pb.Status:
    """With the partitions; asked again where load made others miss the short time that the silent one is waited for."""
    status = pb.Status()
    for _ in range(TRIES_MAX):
        status.CopyFrom((await asked.stub.GetStatus(pb.GetStatusRequest(partitions=True))).status)
        if sum(not each.answered for each in status.instances) <= 1:
            break
    return status


async def test_status_of_one() -> None:
    async with served() as (one,):
        await hold(one, b"a", b"a", b"b")
        answer = await one.stub.GetStatus(pb.GetStatusRequest(scope=INSTANCE, partitions=True))
        (said,) = answer.status.subscriptions
        assert (said.name, said.group, said.state) == ("billing", "billing", "running")
        assert (said.flow.pending_records, said.flow.in_flight_records) == (3, 2)
        (part,) = said.partitions
        assert (part.topic, part.instance, part.flow.oldest.offset) == ("orders", one.address, 0)
        (instance,) = answer.status.instances
        assert (instance.address, instance.answered, instance.partitions) == (one.address, True, 1)


async def test_status_of_all_from_any() -> None:
    async with served(3) as all_of_them:
        for number, one in enumerate(all_of_them):
            await hold(one, b"a", partition=number)
        for one in all_of_them:
            answer = await one.stub.GetStatus(pb.GetStatusRequest(partitions=True))
            assert [part.partition for part in answer.status.subscriptions[0].partitions] == [0, 1, 2]
            assert answer.status.subscriptions[0].flow.pending_records == 3
            assert [each.address for each in answer.status.instances] == sorted(each.address for each in all_of_them)


async def test_who_does_not_answer_is_listed() -> None:
    async with served(2, peer_timeout_s=0.3, silent=1) as (one, _):
        status = await status_of_all_but_one(one)
        silent = [each for each in status.instances if not each.answered]
        assert len(status.instances) == 3
        assert [(each.problem[:9], each.control_revision) for each in silent] == [("no answer", -1)]


async def test_the_partitions_of_who_does_not_answer_are_listed_as_its_own() -> None:
    async with served(2, peer_timeout_s=0.3, silent=1) as (one, other):
        await hold(one, b"a")
        await hold(other, b"a", partition=1)
        peers = one.daemon.group_peers
        deaf = peers[-1]
        places = [[TopicPartition("orders", number)] for number in range(3)]
        one.daemon.assigned = list(zip(peers, [*places[:2], [*places[2], TopicPartition("orders", 3)]], strict=True))
        (said,) = (await status_of_all_but_one(one)).subscriptions
        assert [(part.partition, part.instance) for part in said.partitions] == [
            (0, one.address), (1, other.address), (2, deaf.admin), (3, deaf.admin),
        ]  # fmt: skip
        for part in said.partitions[2:]:
            assert part.state == "unknown"
            assert "does not answer: no answer within" in part.state_reason
            assert not part.HasField("flow")
            assert (part.next_offset, part.log_end) == (-1, -1)
        assert (said.state, said.state_severity) == ("unknown", pb.SEVERITY_ERROR)
        assert said.state_reason.startswith("orders/2 and 1 more: the daemon that has it does not answer")
        assert [(each.state, each.partitions) for each in said.partition_states] == [("unknown", 2), ("running", 2)]
        assert (said.missing_partitions, said.lag_missing_partitions) == (2, 2)
        assert all(part.HasField("flow") for part in said.partitions[:2])
        inspected = await one.stub.Inspect(pb.InspectRequest(selection=billing(topic="orders", partition=3)))
        assert [(part.partition, part.instance) for part in inspected.partitions] == [(3, deaf.admin)]


async def test_the_lag_of_missing_partitions_comes_from_kafka_and_is_in_the_sum() -> None:
    async with served(1, peer_timeout_s=0.2, silent=1) as (one,):
        await hold(one, b"a", b"b")
        one.pipe.source.topic_sizes = {"orders": 4}
        peers = one.daemon.group_peers
        one.daemon.assigned = [(peers[0], [TopicPartition("orders", 0)]), (peers[1], [TopicPartition("orders", 1)])]
        one.daemon.group_positions = {
            TopicPartition("orders", 0): GroupPosition(0, 2),
            TopicPartition("orders", 1): GroupPosition(40, 61),
            TopicPartition("orders", 2): GroupPosition(-1, 61),
        }
        for _ in range(2):
            (said,) = (await one.stub.GetStatus(pb.GetStatusRequest(partitions=True))).status.subscriptions
            lags = {part.partition: part.lag_records for part in said.partitions if part.HasField("lag_records")}
            assert lags == {1: 21}
            assert said.flow.lag_records == 2 + 21
            assert (said.missing_partitions, said.lag_missing_partitions) == (3, 2)
            why = {part.partition: part.state_reason for part in said.partitions}
            assert why[2] == why[3] == "no daemon has it"
        assert one.daemon.asked_positions == 1, "who watches does not ask Kafka each second"
        (brief,) = (await one.stub.GetStatus(pb.GetStatusRequest())).status.subscriptions
        assert (list(brief.partitions), brief.state, brief.missing_partitions) == ([], "unknown", 3)
        one.pipe.source.topic_sizes = {"orders": 5}
        one.daemon.group_positions = {TopicPartition("orders", 1): GroupPosition(40, 99)}
        (said,) = (await one.stub.GetStatus(pb.GetStatusRequest())).status.subscriptions
        assert said.flow.lag_records == 2 + 59, "another partition is missing: Kafka is asked again"


async def test_where_all_answer_a_partition_without_an_owner_waits_for_a_rebalance() -> None:
    async with served(2) as (one, other):
        await hold(one, b"a")
        one.pipe.source.topic_sizes = {"orders": 3}
        one.daemon.unstable = 1
        (said,) = (await one.stub.GetStatus(pb.GetStatusRequest(partitions=True))).status.subscriptions
        assert [part.state for part in said.partitions] == ["running", "starting", "starting"]
        assert (said.state, said.lag_missing_partitions) == ("starting", 2)
        one.daemon.assigned = [(other.daemon.peer, [TopicPartition("orders", 1)])]
        (said,) = (await one.stub.GetStatus(pb.GetStatusRequest(partitions=True))).status.subscriptions
        assert [(part.state, part.instance) for part in said.partitions] == [
            ("running", one.address), ("starting", other.address), ("unknown", ""),
        ]  # fmt: skip
        assert said.state == "unknown"


async def test_kafka_is_not_asked_while_every_partition_is_there() -> None:
    async with served(2) as (one, other):
        await hold(one, b"a")
        await hold(other, b"a", partition=1)
        one.pipe.source.topic_sizes = {"orders": 2}
        (said,) = (await one.stub.GetStatus(pb.GetStatusRequest())).status.subscriptions
        assert (said.state, said.missing_partitions, one.daemon.asked_positions) == ("running", 0, 0)
        selection = billing(topic="orders", partition=0)
        await one.stub.Inspect(pb.InspectRequest(selection=selection))
        assert one.daemon.asked_positions == 0


async def test_who_left_is_shown_until_it_is_back() -> None:
    async with served(2) as (one, other):
        gone = Peer("10.0.0.9:7070", "10.0.0.9:7071", "")
        for each in (one, other):
            each.pipe.pipeline.on_peers([*one.daemon.group_peers, gone])
            each.pipe.pipeline.on_peers(one.daemon.group_peers)
        status = (await one.stub.GetStatus(pb.GetStatusRequest())).status
        assert [each.address for each in status.departures] == ["10.0.0.9:7070"]
        other.pipe.pipeline.on_peers([one.daemon.peer])
        status = (await one.stub.GetStatus(pb.GetStatusRequest())).status
        assert [each.address for each in status.departures] == ["10.0.0.9:7070"], "who answers has not left"


@pytest.mark.parametrize("unstable", [True, False])
async def test_where_nobody_can_say_what_the_silent_one_has_it_is_said(unstable: bool) -> None:
    async with served(1, peer_timeout_s=0.2, silent=1) as (one,):
        if unstable:
            one.daemon.unstable = 1
        else:
            one.daemon.cluster_error = KafkaUnavailable("Kafka is down")
        answer = await one.stub.GetStatus(pb.GetStatusRequest(partitions=True))
        (silent,) = (each for each in answer.status.instances if not each.answered)
        assert "which partitions it has is not known" in silent.problem
        assert ("rebalancing" if unstable else "Kafka is down") in silent.problem


async def test_the_callers_deadline_is_kept() -> None:
    async with served(1, peer_timeout_s=60, silent=1) as (one,):
        answer = await one.stub.GetStatus(pb.GetStatusRequest(), timeout=2)
        assert [each.answered for each in answer.status.instances if each.address != one.address] == [False]


async def test_an_instance_without_an_address_is_listed() -> None:
    async with served() as (one,):
        one.pipe.pipeline.on_peers([one.daemon.peer, Peer("", "10.0.0.1:7071", "")])
        answer = await one.stub.GetStatus(pb.GetStatusRequest())
        (silent,) = (each for each in answer.status.instances if not each.answered)
        assert "10.0.0.1:7071" in silent.problem


async def test_unknown_subscriptions_are_answered_with_the_known() -> None:
    async with served() as (one,):
        for call in (
            one.stub.GetStatus(pb.GetStatusRequest(subscription="biling")),
            one.stub.Pause(pb.PauseRequest(change=change(), selection=pb.Selection(subscription="biling"))),
            one.stub.Limit(pb.LimitRequest(change=change(), subscription="biling")),
            one.stub.Inspect(pb.InspectRequest(selection=pb.Selection(subscription="biling"))),
            one.stub.WatchStatus(pb.WatchStatusRequest(subscription="biling")).read(),
        ):
            code, words, info, _ = await refused(call)
            assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "admin.not_found")
            assert 'there are billing; did you mean "billing"?' in words


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.PauseRequest(selection=billing()), "change.request_id"),
        (pb.PauseRequest(change=change(request_id="x" * 65), selection=billing()), "change.request_id"),
        (pb.PauseRequest(change=change(reason=""), selection=billing()), "change.reason"),
        (pb.PauseRequest(change=change(reason="x" * (1 << 20)), selection=billing()), "change.reason"),
        (pb.PauseRequest(change=change(expected_revision=-1), selection=billing()), "change.expected_revision"),
        (pb.PauseRequest(change=change()), "selection.subscription"),
        (pb.PauseRequest(change=change(), selection=billing(topic="")), "selection.topic"),
        (pb.PauseRequest(change=change(), selection=billing(partition=1)), "selection.partition"),
        (pb.PauseRequest(change=change(), selection=billing(topic="orders", partition=-1)), "selection.partition"),
        (pb.PauseRequest(change=change(), selection=billing(key=b"x" * 65_537)), "selection.key"),
        (pb.PauseRequest(change=change(), selection=billing(), lasts=Duration(nanos=5)), "lasts"),
        (pb.PauseRequest(change=change(), selection=billing(), lasts=Duration(seconds=2_592_001)), "lasts"),
        (pb.LimitRequest(change=change(), subscription="billing", rate_max_per_s=-1), "rate_max_per_s"),
        (pb.LimitRequest(change=change(), subscription="billing", rate_max_per_s=float("nan")), "rate_max_per_s"),
        (pb.LimitRequest(change=change(), subscription="billing", concurrency_max=0), "concurrency_max"),
        (pb.LimitRequest(change=change()), "subscription"),
        (pb.InspectRequest(selection=billing(), page_size=1_001), "page_size"),
        (pb.InspectRequest(selection=billing(), page_token="nonsense"), "page_token"),
        (pb.WatchStatusRequest(interval=Duration(nanos=1)), "interval"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_changed(request_: Any, field: str) -> None:
    async with served() as (one,):
        call = getattr(one.stub, type(request_).__name__.removesuffix("Request"))(request_)
        code, _, info, bad = await refused(call.read() if field == "interval" else call)
        assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "admin.invalid_argument")
        assert [violation.field for violation in bad.field_violations] == [field]
        assert not one.daemon.control.changes


@pytest.mark.parametrize(("topic", "partition"), [("order", None), ("orders", 4)])
async def test_a_topic_or_partition_that_is_not_there(topic: str, partition: int | None) -> None:
    async with served() as (one,):
        selection = billing(topic=topic, partition=partition)
        code, words, _, _ = await refused(one.stub.Pause(pb.PauseRequest(change=change(), selection=selection)))
        assert code == grpc.StatusCode.NOT_FOUND
        assert "orders" in words
        code, _, _, _ = await refused(one.stub.Resume(pb.ResumeRequest(change=change(), selection=selection)))
        assert code == grpc.StatusCode.NOT_FOUND
        assert not one.daemon.control.changes


async def test_a_change_is_confirmed_by_all() -> None:
    async with served(3) as (one, *_):
        answer = await one.stub.Pause(pb.PauseRequest(change=change(), selection=billing(key=b"k")))
        assert (answer.changed.revision, answer.changed.confirmed) == (1, True)
        assert [each.control_revision for each in answer.changed.instances] == [1, 1, 1]
        key, document, said = one.daemon.control.changes[0]
        assert key[:3] == ("billing", "pause", "billing")
        assert (document, said["reason"], said["method"]) == ({"until_ms": None}, "the endpoint is on fire", "Pause")


async def test_what_is_not_there_is_not_taken_back_and_that_is_said() -> None:
    async with served(2) as (one, other):
        for call in (
            one.stub.Resume(pb.ResumeRequest(change=change(), selection=billing())),
            one.stub.Limit(pb.LimitRequest(change=change(), subscription="billing")),
        ):
            answer = (await call).changed
            assert (answer.unchanged, answer.confirmed, len(answer.instances)) == (True, True, 2)
        assert not one.daemon.control.changes
        await other.stub.Pause(pb.PauseRequest(change=change(), selection=billing()))
        for _ in range(2):  # the second is the same request again: its answer was lost
            resumed = await one.stub.Resume(pb.ResumeRequest(change=change(request_id="r2"), selection=billing()))
            assert not resumed.changed.unchanged
        in_part = await one.stub.Resume(pb.ResumeRequest(change=change(request_id="r3"), selection=billing(key=b"k")))
        assert in_part.changed.unchanged


async def test_a_change_waits_for_who_lags() -> None:
    async with served(2) as (one, other):
        other.daemon.control.follows = False
        asyncio.get_running_loop().call_later(0.3, lambda: setattr(other.daemon.control, "follows", True))
        answer = await one.stub.Pause(pb.PauseRequest(change=change(), selection=billing()))
        assert answer.changed.confirmed


@pytest.mark.parametrize("silent", [0, 1])
async def test_a_change_that_not_all_have_is_made_and_not_confirmed(silent: int) -> None:
    async with served(2, confirm_timeout_s=0.5, peer_timeout_s=0.2, silent=silent) as (one, other):
        other.daemon.control.follows = False
        answer = await one.stub.Limit(pb.LimitRequest(change=change(), subscription="billing", concurrency_max=3))
        assert not answer.changed.confirmed
        assert len(answer.changed.instances) == 2 + silent
        members = {one.address, other.address}
        problems = [each.problem for each in answer.changed.instances if each.address not in members]
        assert problems == ["no answer within 0.5 s"] * silent
        assert one.daemon.control.changes[0][1] == {"rate_max_per_s": None, "concurrency_max": 3}


async def test_a_rebalance_is_waited_for() -> None:
    async with served(2) as (one, _):
        one.daemon.unstable = 3
        answer = await one.stub.Pause(pb.PauseRequest(change=change(), selection=billing()))
        assert answer.changed.confirmed
        assert len(answer.changed.instances) == 2


async def test_a_member_that_has_not_said_where_it_is_keeps_a_change_unconfirmed() -> None:
    async with served(confirm_timeout_s=0.3) as (one,):
        one.daemon.group_peers = [one.daemon.peer, Peer("", "", "")]
        answer = await one.stub.Pause(pb.PauseRequest(change=change(), selection=billing()))
        assert not answer.changed.confirmed
        assert [each.answered for each in answer.changed.instances] == [False, True]


@pytest.mark.parametrize("kind", ["one address", "loopback of another host"])
async def test_a_change_is_never_confirmed_by_one_that_stands_in_for_another(kind: str) -> None:
    """Each of them takes what answers at the other's address for the other, if nobody looks."""
    async with served(confirm_timeout_s=0.3) as (one,):
        own = one.daemon.peer = one.daemon.peer._replace(host="a", network="a")
        is_shared = kind == "one address"
        other = own._replace(instance="other", host="b", network="a" if is_shared else "b")
        one.daemon.group_peers = [own, other]
        one.pipe.pipeline.on_peers([own, other])
        changed = (await one.stub.Pause(pb.PauseRequest(change=change(), selection=billing()))).changed
        assert not changed.confirmed
        found = {each.id: each for each in changed.instances}
        assert (found[own.instance].answered, found["other"].answered) == (True, False)
        said = "and so does" if is_shared else "which no other host reaches"
        for each in found.values():
            assert said in each.problem
        status = (await one.stub.GetStatus(pb.GetStatusRequest())).status
        assert [(each.id, each.host, said in each.problem) for each in status.instances] == [
            (each.instance, each.host, True)
            for each in sorted((own, other), key=lambda peer: peer.instance != own.instance)
        ]
        findings = (await one.stub.Diagnose(pb.DiagnoseRequest())).findings
        wrong = [each for each in findings if each.code == "fleet.unreachable"]
        assert [each.severity for each in wrong] == [pb.SEVERITY_ERROR] * 2
        assert all("no change is confirmed" in each.message for each in wrong)


async def test_one_that_has_died_and_was_started_again_holds_up_a_change_as_long_as_it_is_a_member() -> None:
    async with served(2, confirm_timeout_s=20.0) as (one, other):
        members = one.daemon.group_peers
        one.daemon.group_peers = [one.daemon.peer, other.daemon.peer._replace(instance="dead")]
        call = asyncio.ensure_future(one.stub.Pause(pb.PauseRequest(change=change(), selection=billing())))
        asyncio.get_running_loop().call_later(0.3, lambda: setattr(one.daemon, "group_peers", members))
        changed = (await call).changed
        assert changed.confirmed
        assert {each.id for each in changed.instances} == {each.daemon.peer.instance for each in (one, other)}


async def test_who_answers_in_place_of_the_one_that_is_meant_is_found_out() -> None:
    """One address may serve several daemons, or a daemon was started again."""
    async with served(2, confirm_timeout_s=0.3) as (one, other):
        meant = other.daemon.peer._replace(instance="gone")
        one.daemon.group_peers = [one.daemon.peer, meant]
        one.pipe.pipeline.on_peers([one.daemon.peer, meant])
        changed = (await one.stub.Pause(pb.PauseRequest(change=change(), selection=billing()))).changed
        assert not changed.confirmed
        (silent,) = (each for each in changed.instances if not each.answered)
        assert silent.id == "gone"
        assert (
            f"daemon {other.daemon.peer.instance} answers at the address that daemon 'gone' advertises"
            in silent.problem
        )


@pytest.mark.parametrize("unstable", [True, False])
async def test_who_is_in_the_group_cannot_be_found_out(unstable: bool) -> None:
    async with served(confirm_timeout_s=0.3) as (one,):
        one.daemon.unstable = 1_000 if unstable else 0
        one.daemon.cluster_error = None if unstable else KafkaUnavailable("gone")
        answer = await one.stub.Pause(pb.PauseRequest(change=change(), selection=billing()))
        assert not answer.changed.confirmed
        assert ("rebalancing" if unstable else "gone") in answer.changed.instances[0].problem


async def test_errors_of_the_control_state_are_the_wires() -> None:
    async with served() as (one,):
        one.daemon.control.log.error = error = ControlUnavailable("not now")
        code, words, info, _ = await refused(one.stub.Pause(pb.PauseRequest(change=change(), selection=billing())))
        assert (code, words, info.reason) == (grpc.StatusCode.UNAVAILABLE, str(error), error.code)


async def test_inspect_shows_lanes_and_their_states() -> None:
    async with served() as (one,):
        await hold(one, b"a", b"a", b"b", None)
        answer = await one.stub.Inspect(pb.InspectRequest(selection=billing(), scope=INSTANCE))
        assert [(lane.head.offset, lane.records, lane.state, lane.blocks_commit) for lane in answer.lanes] == [
            (0, 2, "in-flight", True),
            (2, 1, "in-flight", False),
            (3, 1, "in-flight", False),
        ]
        assert not any(lane.HasField("value") for lane in answer.lanes)
        assert [lane.HasField("key") for lane in answer.lanes] == [True, True, False]
        blocked = await one.stub.Inspect(pb.InspectRequest(selection=billing(), blocked=True))
        assert [lane.head.offset for lane in blocked.lanes] == [0]
        by_key = await one.stub.Inspect(pb.InspectRequest(selection=billing(key=b"b")))
        assert [lane.head.offset for lane in by_key.lanes] == [2]


async def test_inspect_shows_back_off_with_its_end() -> None:
    async with served() as (one,):
        one.pipe.adapter.answer = lambda _: FAILED
        one.pipe.source.assign(0)
        one.pipe.source.produce(b"a", b"a")
        await settled()
        (lane,) = (await one.stub.Inspect(pb.InspectRequest(selection=billing()))).lanes
        assert (lane.state, lane.attempts, lane.records) == ("backing-off", 1, 2)
        assert lane.HasField("until")
        assert "status_500" in lane.last_outcome


async def test_pages_show_every_lane_once() -> None:
    async with served(3) as all_of_them:
        keys = [b"k%d" % number for number in range(10)]
        for number, one in enumerate(all_of_them):
            await hold(one, *keys, partition=number)
        seen: list[tuple[int, int]] = []
        request = pb.InspectRequest(selection=billing(), page_size=4)
        while True:
            answer = await all_of_them[1].stub.Inspect(request)
            assert len(answer.lanes) <= 4
            seen += [(lane.head.partition, lane.head.offset) for lane in answer.lanes]
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        assert sorted(seen) == [(partition, offset) for partition in range(3) for offset in range(10)]


async def test_values_need_the_role_and_the_configuration() -> None:
    asked = pb.InspectRequest(selection=billing(), values=True)
    async with served(known=tokens(), values=True) as (one,):
        await hold(one, b"a")
        code, _, info, _ = await refused(one.stub.Inspect(asked, metadata=bearer("operator")))
        assert (code, info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "admin.permission_denied")
        answer = await one.stub.Inspect(asked, metadata=bearer("admin"))
        assert [lane.value for lane in answer.lanes] == [b"v"]
    async with served(known=tokens()) as (one,):
        code, words, _, _ = await refused(one.stub.Inspect(asked, metadata=bearer("admin")))
        assert code == grpc.StatusCode.PERMISSION_DENIED
        assert "values = false" in words


async def test_a_watch_goes_on_until_the_service_ends() -> None:
    async with served() as (one,):
        watch = one.stub.WatchStatus(pb.WatchStatusRequest(interval=Duration(nanos=500_000_000)))
        for _ in range(2):
            assert (await watch.read()).status.subscriptions[0].name == "billing"
        one.servicer.end()
        assert await watch.read() is aio.EOF


async def test_findings_come_from_all_the_worst_first() -> None:
    async with served(2) as (one, other):
        other.daemon.findings = [Finding(ok=False, about="topic orders", text="missing", advice="create it")]
        one.daemon.findings = [
            Finding(ok=True, about="kafka", text="well"),
            Finding(ok=False, works=True, about="dlq", text="weak"),
        ]
        answer = await one.stub.Diagnose(pb.DiagnoseRequest())
        assert [(each.severity, list(each.instances)) for each in answer.findings] == [
            (pb.SEVERITY_ERROR, [other.address]),
            (pb.SEVERITY_WARNING, [one.address]),
            (pb.SEVERITY_OK, [one.address]),
        ]


async def test_what_all_find_alike_is_said_once() -> None:
    async with served(3) as daemons:
        for each in daemons:
            each.daemon.findings = [Finding(ok=False, about="kafka", text="no answer in time")]
        daemons[0].daemon.findings = [*daemons[0].daemon.findings, Finding(ok=True, about="files", text="enough")]
        answer = await daemons[0].stub.Diagnose(pb.DiagnoseRequest())
        assert [(each.subject, list(each.instances)) for each in answer.findings] == [
            ("kafka", sorted(each.address for each in daemons)),
            ("files", [daemons[0].address]),
        ]


async def test_a_look_at_brokers_ends_before_others_take_the_daemon_for_silent() -> None:
    async with served(2, peer_timeout_s=0.5) as (one, other):
        await one.stub.Diagnose(pb.DiagnoseRequest(), timeout=5)
        (own_s,), (others_s,) = one.daemon.diagnosed_within_s, other.daemon.diagnosed_within_s
        assert 0.5 < others_s < own_s < 5


async def test_settings_that_differ_are_named_with_who_has_which() -> None:
    async with served(2) as (one, other):
        one.daemon.settings = {"kafka.session_timeout_ms": "20000", "subscriptions.billing.name": '"billing"'}
        other.daemon.settings = {**one.daemon.settings, "kafka.session_timeout_ms": "45000"}
        (found,) = (await one.stub.Diagnose(pb.DiagnoseRequest())).findings
        assert (found.code, found.severity) == ("fleet.config_drift", pb.SEVERITY_WARNING)
        assert f"20000 at {one.address}" in found.message
        assert f"45000 at {other.address}" in found.message
        alone = await one.stub.Diagnose(pb.DiagnoseRequest(scope=INSTANCE))
        assert dict(alone.settings) == one.daemon.settings


async def test_the_version_says_where_it_is() -> None:
    async with served() as (one,):
        assert (await one.stub.GetVersion(pb.GetVersionRequest())).address == one.address


async def test_fields_that_nobody_knows_yet_do_no_harm() -> None:
    async with served() as (one,):
        call: Any = one.channel.unary_unary("/mps.admin.v1.Admin/GetStatus")
        answer = pb.GetStatusResponse.FromString(await call(b"\xfa\x3f\x03new"))
        assert answer.status.instances


async def test_lanes_of_a_partition_that_is_not_there_are_not_just_none() -> None:
    async with served() as (one,):
        code, words, _, _ = await refused(
            one.stub.Inspect(pb.InspectRequest(selection=billing(topic="orders", partition=7)))
        )
        assert (code, "0 to 3" in words) == (grpc.StatusCode.NOT_FOUND, True)
