"""Offsets that a group has committed, with the errors that the client library overlooks."""

from collections.abc import Collection
from typing import Any

from aiokafka.errors import NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest


def watch_offset_fetches(coordinator: Any) -> None:
    """Let an error of a whole answer be one; to the library a group whose coordinator is loading has committed nothing.

    With `start = "latest"` such a group would skip all that it has not read yet.
    """
    send = coordinator._send_req

    async def send_and_raise(request: Any) -> Any:
        response = await send(request)
        if isinstance(request, OffsetFetchRequest) and (code := getattr(response, "error_code", 0)):
            if for_code(code) is NotCoordinatorForGroupError:
                coordinator.coordinator_dead()
            raise for_code(code)(coordinator.group_id)
        return response

    coordinator._send_req = send_and_raise


async def topics_with_commits(consumer: Any, topics: Collection[str]) -> frozenset[str]:
    """Return those of the topics of which the group has committed any partition.

    Args:
        consumer: connected; it need not have joined.

    Raises:
        KafkaError: as the library does.
    """
    await consumer._coordinator.ensure_coordinator_known()
    answer = await consumer._coordinator._send_req(OffsetFetchRequest(consumer._coordinator.group_id, None))
    found = {topic for topic, partitions in answer.topics for _, offset, *_ in partitions if offset >= 0}
    return frozenset(found.intersection(topics))
