"""Assignments that are not the work of our assignor."""

import zlib
from secrets import token_hex

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import InconsistentGroupProtocolError

from mpsd.core.record import TopicPartition
from mpsd.kafka.assignor import CooperativeAssignor, Group, peer_of
from mpsd.ports import NOWHERE, Peer


@pytest.mark.parametrize("user_data", [b"", b"{}", b"not ours", b"[]"])
def test_an_assignment_of_somebody_else_is_refused(user_data: bytes) -> None:
    taken: list[object] = []
    assignor = CooperativeAssignor(dict, lambda *given: taken.append(given))
    with pytest.raises(InconsistentGroupProtocolError):
        assignor.on_assignment(ConsumerProtocolMemberAssignment(0, [("orders", [0])], user_data))
    assert not taken


def test_an_assignment_of_ours_is_taken() -> None:
    taken: list[list[TopicPartition]] = []
    assignor = CooperativeAssignor(dict, lambda partitions, *_: taken.append(partitions))
    assignor.on_assignment(ConsumerProtocolMemberAssignment(0, [("orders", [0])], b'{"version": 1}'))
    assert taken == [[TopicPartition("orders", 0)]]


class FakeCluster:
    """Partitions of every topic."""

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return set(range(200))


def test_a_group_of_hundred_fits_into_the_one_record_that_the_broker_keeps_of_it() -> None:
    taken: list[Group] = []

    def member(number: int) -> CooperativeAssignor:
        admin, http, stream = (f"10.20.30.{number}:{port}" for port in (7070, 7071, 7072))
        peer = Peer(admin, http, stream, token_hex(5), f"mpsd-7d9c5b6f7-{number:06d}", token_hex(5))
        return CooperativeAssignor(dict, lambda _partitions, _leaving, group: taken.append(group), peer)

    assignors = [member(number) for number in range(100)]
    members = {f"mpsd-{token_hex(18)}": each.metadata(["orders"]) for each in assignors}
    given = assignors[0].assign(FakeCluster(), members)
    size = sum(len(each.encode()) for each in (*given.values(), *members.values()))
    assert size < 1_048_576 / 2, f"{size} bytes"
    assignors[0].on_assignment(next(iter(given.values())))
    assert sorted(peer.host for peer in taken[0].peers) == [f"mpsd-7d9c5b6f7-{number:06d}" for number in range(100)]


@pytest.mark.parametrize(
    "user_data", [b"x", b"x\x9cnonsense", zlib.compress(bytes(1 << 26)), zlib.compress(b"{}")[:-3]]
)
def test_whatever_another_program_packs_is_bounded_and_refused(user_data: bytes) -> None:
    assert peer_of(user_data) == NOWHERE
    assignor = CooperativeAssignor(dict, lambda *_: None)
    with pytest.raises(InconsistentGroupProtocolError):
        assignor.on_assignment(ConsumerProtocolMemberAssignment(0, [], user_data))
