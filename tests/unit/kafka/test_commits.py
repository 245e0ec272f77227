"""Commits of a member, on a coordinator that only counts."""

from typing import Any

import pytest

from mpsd.errors import CommitFenced
from mpsd.kafka.membership import Commits
from mpsd.ports import CommitPoint
from tests.fakes.records import HERE


class Coordinator:
    """Knows where it is, and what was sent in which generation."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.sent: list[Any] = []
        self._coordinator = self

    async def ensure_coordinator_known(self) -> None:
        """At once."""

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        self.sent.append(offsets)


def opened() -> Commits:
    commits = Commits()
    commits.let()
    return commits


async def test_a_member_commits() -> None:
    consumer = Coordinator(generation=3)
    await opened().commit(consumer, {HERE: CommitPoint(5, "")}, lambda _: True)
    assert len(consumer.sent) == 1


async def test_nothing_is_sent_without_a_generation_as_an_empty_group_would_take_it() -> None:
    consumer = Coordinator(generation=-1)
    with pytest.raises(CommitFenced):
        await opened().commit(consumer, {HERE: CommitPoint(5, "")}, lambda _: True)
    assert not consumer.sent
