"""Offsets that a group has committed, of a coordinator that is not ready."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import GroupLoadInProgressError, NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.group import HeartbeatRequest

from mpsd.kafka.positions import LogEnd, log_ends, topics_with_commits, watch_offset_fetches


class Coordinator:
    """Answers with one code, and is dead once it was said so."""

    group_id = "orders"

    def __init__(self, code: int, topics: Any = ()) -> None:
        self.is_dead = False
        self._answer = SimpleNamespace(error_code=code, topics=topics)

    async def ensure_coordinator_known(self) -> None: ...

    async def _send_req(self, request: Any) -> Any:
        return self._answer

    def coordinator_dead(self) -> None:
        self.is_dead = True


ASKED = OffsetFetchRequest("orders", None)


@pytest.mark.parametrize(
    ("code", "error", "is_dead"), [(14, GroupLoadInProgressError, False), (16, NotCoordinatorForGroupError, True)]
)
async def test_a_coordinator_that_is_not_ready_has_not_committed_nothing(code: int, error: Any, is_dead: bool) -> None:
    coordinator = Coordinator(code)
    watch_offset_fetches(coordinator)
    with pytest.raises(error):
        await coordinator._send_req(ASKED)
    assert coordinator.is_dead is is_dead


async def test_errors_of_other_requests_are_those_of_the_library() -> None:
    coordinator = Coordinator(27)
    watch_offset_fetches(coordinator)
    answer = await coordinator._send_req(HeartbeatRequest("orders", 1, "me"))
    assert answer.error_code == 27


async def test_only_topics_with_a_commit_are_begun() -> None:
    topics = [("orders", [(0, -1, "", 0), (1, 5, "", 0)]), ("bills", [(0, -1, "", 0)]), ("others", [(0, 7, "", 0)])]
    consumer = SimpleNamespace(_coordinator=Coordinator(0, topics))
    assert await topics_with_commits(consumer, ["orders", "bills"]) == {"orders"}


class BusyLog:
    """A log without transactions that grows with each look at its end, as a fetcher of the library sees it."""

    def __init__(self) -> None:
        self._isolation_level = READ_COMMITTED
        self._log = SimpleNamespace(end=0)

    async def end_offsets(self, keys: Sequence[str], _timeout_ms: int) -> dict[str, int]:
        self._log.end += 8
        return dict.fromkeys(keys, self._log.end)


async def test_a_log_that_grows_between_two_looks_has_no_open_transaction() -> None:
    fetcher = BusyLog()
    consumer = SimpleNamespace(
        _fetcher=fetcher, _request_timeout_ms=1000, end_offsets=lambda keys: fetcher.end_offsets(keys, 1000)
    )
    assert await log_ends(consumer, ["orders/0"]) == {"orders/0": LogEnd(16, 16)}
