"""A consumer group as the broker keeps it: members, generations, joins and syncs that wait, and time-outs.

    Empty ─ join → Preparing ─ all have joined, or the rebalance time-out → Completing ─ the leader's sync → Stable
              ↑                                                                                      │
              └───────── a join, a leave, a session that ends ─────────────────────────────────────────┘

Source: Apache Kafka's GroupCoordinator (classic protocol): a member that waits for a join or a sync is not dropped for
its silence; commits are taken in Stable and Preparing, and refused with RebalanceInProgress in Completing.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

from tests.simulation.machine import outside

ILLEGAL_GENERATION, UNKNOWN_MEMBER, REBALANCE_IN_PROGRESS, MEMBER_ID_REQUIRED = 22, 25, 27, 79

Reply = Callable[[Any], None]


class State(StrEnum):
    """The state of the group."""

    EMPTY = "empty"
    PREPARING = "preparing"
    COMPLETING = "completing"
    STABLE = "stable"


class Member:
    """One member; `join` and `sync` are what waits to be answered."""

    def __init__(self, member_id: str, owner: Any, request: Any) -> None:
        self.member_id = member_id
        self.owner = owner
        self.session_s = request._session_timeout / 1000
        self.rebalance_s = request._rebalance_timeout / 1000
        self.metadata = b""
        self.join: Reply | None = None
        self.sync: Reply | None = None
        self.assignment = b""
        self.timer: asyncio.TimerHandle | None = None


class Group:
    """Takes the requests of members; each is answered once, at once or later."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tell: Callable[[str], None], on_dropped: Callable[[Any], None]
    ) -> None:
        """Begin empty.

        Args:
            on_dropped: told the owner of a member that was dropped for its silence.
        """
        self._loop = loop
        self._tell = tell
        self._on_dropped = on_dropped
        self.on_state: Callable[[State], None] = lambda _state: None
        self._state = State.EMPTY
        self.generation = 0
        self.leader = ""
        self.members: dict[str, Member] = {}
        self._ids = 0
        self._given: set[str] = set()
        self._round = 0

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        self.on_state(state)

    def join(self, owner: Any, request: Any, reply: Reply) -> None:
        if not request._member_id:
            self._ids += 1
            member_id = f"{owner.name}-{self._ids}"
            self._given.add(member_id)
            reply(self._joined(MEMBER_ID_REQUIRED, member_id))
            return
        member = self.members.get(request._member_id)
        is_new = member is None
        if member is None:
            if request._member_id not in self._given:
                reply(self._joined(UNKNOWN_MEMBER, ""))
                return
            self._given.remove(request._member_id)
            member = self.members[request._member_id] = Member(request._member_id, owner, request)
        metadata = request._group_protocols[0][1]
        changed, member.metadata = metadata != member.metadata, metadata
        if not (is_new or changed) and (
            self.state is State.COMPLETING or (self.state is State.STABLE and member.member_id != self.leader)
        ):
            self._listen(member)
            reply(self._joined(0, member.member_id))
            return
        self._silence(member)
        member.join, member.sync = reply, None
        if self.state is not State.PREPARING:
            self._prepare()
        self._complete_if_all_joined()

    def sync(self, request: Any, reply: Reply) -> None:
        member = self.members.get(request._member_id)
        if member is None or request._generation_id != self.generation:
            reply(SimpleNamespace(error_code=UNKNOWN_MEMBER if member is None else ILLEGAL_GENERATION))
        elif self.state is State.PREPARING:
            reply(SimpleNamespace(error_code=REBALANCE_IN_PROGRESS))
        elif self.state is State.STABLE:
            self._listen(member)
            reply(SimpleNamespace(error_code=0, member_assignment=member.assignment))
        else:
            self._silence(member)
            member.sync = reply
            if member.member_id == self.leader:
                self._distribute(dict(request._group_assignment))

    def heartbeat(self, request: Any) -> int:
        error = self._fence(request._generation_id, request._member_id)
        if not error:
            self._listen(self.members[request._member_id])
            error = REBALANCE_IN_PROGRESS if self.state is State.PREPARING else 0
        return error

    def leave(self, request: Any) -> int:
        member = self.members.get(request._member_id)
        if member is None:
            return UNKNOWN_MEMBER
        self._remove(member)
        return 0

    def commit(self, generation: int, member_id: str) -> int:
        """Return the error code of a commit; 0 if it is accepted."""
        if generation < 0 and self.state is State.EMPTY:
            return 0
        error = self._fence(generation, member_id)
        if not error:
            self._listen(self.members[member_id])
            error = REBALANCE_IN_PROGRESS if self.state is State.COMPLETING else 0
        return error

    def forget(self) -> None:
        """Forget all members; the next of their requests tells them."""
        for member in list(self.members.values()):
            self._drop(member)

    def go_down(self) -> None:
        """Go down with the broker: waiting members learn it by their connection, and nobody's silence counts."""
        self._round += 1
        for member in self.members.values():
            member.join = member.sync = None
            self._silence(member)

    def come_up(self) -> None:
        """Sessions begin anew, and so does a rebalance that was under way."""
        for member in self.members.values():
            self._listen(member)
        if self.members and self.state in {State.PREPARING, State.COMPLETING}:
            self._prepare()

    def _fence(self, generation: int, member_id: str) -> int:
        if member_id not in self.members:
            return UNKNOWN_MEMBER
        return ILLEGAL_GENERATION if generation != self.generation else 0

    def _joined(self, error_code: int, member_id: str) -> SimpleNamespace:
        is_leader = member_id == self.leader and not error_code
        members = [(m.member_id, None, m.metadata) for m in self.members.values()] if is_leader else []
        return SimpleNamespace(
            API_VERSION=5,
            error_code=error_code,
            generation_id=self.generation,
            group_protocol="mps-cooperative-1",
            leader_id=self.leader,
            member_id=member_id,
            members=members,
        )

    def _prepare(self) -> None:
        self.state = State.PREPARING
        for member in self.members.values():
            if member.sync is not None:
                reply, member.sync = member.sync, None
                self._listen(member)
                reply(SimpleNamespace(error_code=REBALANCE_IN_PROGRESS))
        self._round += 1
        patience_s = max(member.rebalance_s for member in self.members.values())
        outside(self._loop, patience_s, self._give_up_joins, self._round)

    def _give_up_joins(self, round_: int) -> None:
        if round_ == self._round and self.state is State.PREPARING:
            for member in [member for member in self.members.values() if member.join is None]:
                self._drop(member)
            self._complete_if_all_joined()

    def _complete_if_all_joined(self) -> None:
        if self.state is not State.PREPARING or any(member.join is None for member in self.members.values()):
            return
        self.generation += 1
        if not self.members:
            self.state = State.EMPTY
            return
        self.state = State.COMPLETING
        if self.leader not in self.members:
            self.leader = next(iter(self.members))
        self._tell(f"generation {self.generation} of {', '.join(self.members)}, led by {self.leader}")
        self._round += 1
        patience_s = max(member.rebalance_s for member in self.members.values())
        outside(self._loop, patience_s, self._give_up_syncs, self._round)
        for member in list(self.members.values()):
            if member.join is not None:
                reply, member.join = member.join, None
                self._listen(member)
                reply(self._joined(0, member.member_id))

    def _give_up_syncs(self, round_: int) -> None:
        if round_ == self._round and self.state is State.COMPLETING:
            for member in [member for member in self.members.values() if member.sync is None]:
                self._drop(member)

    def _distribute(self, assignments: dict[str, Any]) -> None:
        self.state = State.STABLE
        for member in self.members.values():
            assigned = assignments.get(member.member_id, b"")
            member.assignment = assigned
            if member.sync is not None:
                reply, member.sync = member.sync, None
                self._listen(member)
                reply(SimpleNamespace(error_code=0, member_assignment=assigned))

    def _listen(self, member: Member) -> None:
        """Start the member's session again."""
        self._silence(member)
        member.timer = self._loop.call_later(member.session_s, self._expire, member)

    @staticmethod
    def _silence(member: Member) -> None:
        if member.timer is not None:
            member.timer.cancel()
            member.timer = None

    def _expire(self, member: Member) -> None:
        if self.members.get(member.member_id) is member:
            self._drop(member)

    def _drop(self, member: Member) -> None:
        self._tell(f"{member.member_id} is dropped")
        self._on_dropped(member.owner)
        self._remove(member)

    def _remove(self, member: Member) -> None:
        self._silence(member)
        del self.members[member.member_id]
        if self.state in {State.STABLE, State.COMPLETING} and self.members:
            self._prepare()
        elif not self.members:
            self.generation += 1
            self.state = State.EMPTY
        self._complete_if_all_joined()
