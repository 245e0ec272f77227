"""Assignments that are not the work of our assignor."""

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import InconsistentGroupProtocolError

from mpsd.core.record import TopicPartition
from mpsd.kafka.assignor import CooperativeAssignor


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
