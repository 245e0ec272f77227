"""Changes of the control state: written to the control topic, and confirmed by every member of the group."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.calls import CALL, Calls, Metadata
from mpsd.admin.daemon import Steerable
from mpsd.admin.fleet import Fleet, instance_of, silent, sort_instances
from mpsd.core.control import EntityKey
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.listeners.reach import faults
from mpsd.ports import Peer

ASK_AGAIN_S = 0.1
"""Between two looks at members that have not applied the change, or at a group that is rebalancing."""
LIST_AGAIN_S = 1.0
"""Age that a list of members may reach if it lacks somebody: who is dead leaves the group, and holds up nothing then."""


class Confirmation(NamedTuple):
    """A wait until every member of a group has applied the control topic up to a revision.

    Attributes:
        credentials: the caller's, for the others.
        timeout_s: 0 or more.
    """

    daemon: Steerable
    fleet: Fleet
    group: str
    revision: int
    credentials: Metadata
    timeout_s: float

    async def wait(self) -> pb.Changed:
        """Wait until all have applied the change, or the time is over."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self.timeout_s
        problem = ""
        peers: Sequence[Peer] = ()
        while True:
            left_s = deadline_s - loop.time()
            try:
                async with asyncio.timeout(max(0.1, left_s)):
                    is_stable, peers, _ = await self.daemon.members(self.group)
                problem = "" if is_stable else "the group is rebalancing: who is in it is not known yet"
            except TimeoutError:
                problem = problem or "Kafka did not list the group's members in time"
            except (KafkaUnavailable, KafkaRefused) as error:
                problem = str(error)
            if not problem:
                changed = await self._applied(peers, deadline_s)
                if changed is not None:
                    return changed
                continue
            if loop.time() + ASK_AGAIN_S >= deadline_s:
                return await self._not_known(problem)
            await asyncio.sleep(ASK_AGAIN_S)

    async def _applied(self, peers: Sequence[Peer], deadline_s: float) -> pb.Changed | None:
        """Ask the members until all have applied the change, or the time is over; None where they are to be listed again."""
        loop, daemon = asyncio.get_running_loop(), self.daemon
        listed_s = loop.time()
        others = sorted(set(peers) - {daemon.peer})
        wrong = faults({daemon.peer, *others})
        known = {peer: silent(peer, wrong.get(peer, "")) for peer in others}
        while True:
            asked = [(peer, known[peer]) for peer in others if peer not in wrong]
            missing = [peer for peer, said in asked if not said.answered or said.control_revision < self.revision]
            left_s = max(0.1, deadline_s - loop.time())
            answers = await self.fleet.ask(missing, ask_instance, self.credentials, left_s, self.timeout_s)
            known |= dict(answers.given)
            said_nothing = {(each.address, each.id): each for each in answers.silent}
            known |= {p: said_nothing[p.admin, p.instance] for p in missing if (p.admin, p.instance) in said_nothing}
            instances = [instance_of(daemon, wrong.get(daemon.peer)), *known.values()]
            needed = [instance_of(daemon), *(known[peer] for peer in others if peer not in wrong)]
            is_applied = all(instance.answered and instance.control_revision >= self.revision for instance in needed)
            if is_applied or loop.time() + ASK_AGAIN_S >= deadline_s:
                is_confirmed = is_applied and not wrong
                return pb.Changed(revision=self.revision, confirmed=is_confirmed, instances=sort_instances(instances))
            await asyncio.sleep(ASK_AGAIN_S)
            if loop.time() - listed_s >= LIST_AGAIN_S:
                return None

    async def _not_known(self, problem: str) -> pb.Changed:
        """Ask the last known members once, because the current members are not known; the change is not confirmed."""
        answers = await self.fleet.ask(self.fleet.others(self.group), ask_instance, self.credentials, 1.0)
        own = instance_of(self.daemon)
        own.problem = "; ".join(filter(None, (own.problem, problem)))
        instances = [own, *(said for _, said in answers.given), *answers.silent]
        return pb.Changed(revision=self.revision, confirmed=False, instances=sort_instances(instances))


async def ask_instance(stub: Any, timeout_s: float, metadata: Metadata) -> pb.Instance:
    """Ask one instance for its own status."""
    request = pb.GetStatusRequest(scope=pb.SCOPE_INSTANCE, subscription="")
    answer: pb.GetStatusResponse = await stub.GetStatus(request, timeout=timeout_s, metadata=metadata)
    return answer.status.instances[0]


class Decided(NamedTuple):
    """A change that is in the control topic.

    Attributes:
        revision: the offset that every member has to reach.
        unchanged: nothing was written, because there was nothing to remove.
    """

    revision: int
    unchanged: bool


class Changes(Calls):
    """Methods that change control state: each is written to the control topic, and confirmed by every member of the group."""

    async def _write(
        self,
        key: EntityKey,
        document: Mapping[str, Any] | None,
        change: pb.Change,
        method: str,
        description: str,
        found_at: int | None = None,
    ) -> pb.Changed:
        """Write a change, and wait until every member has applied it; see `_decide`."""
        decided = await self._decide(key, document, change, method, description, found_at)
        return await self._confirm(key[0], decided.revision, unchanged=decided.unchanged)

    async def _decide(
        self,
        key: EntityKey,
        document: Mapping[str, Any] | None,
        change: pb.Change,
        method: str,
        description: str,
        found_at: int | None = None,
    ) -> Decided:
        """Write a change into the control topic; raises what `ControlChanges.change` does.

        The removal of an entity that does not exist writes nothing.

        Args:
            found_at: revision that the change was made of; the revision that the caller expects takes precedence.
        """
        control = self._daemon.control
        expected = change.expected_revision if change.HasField("expected_revision") else found_at
        if document is None and expected is None and not await control.is_set(key, change.request_id):
            return Decided(control.revision, unchanged=True)
        revision = await control.change(
            key,
            document,
            who=CALL.get().caller.name,
            reason=change.reason,
            request_id=change.request_id,
            expected_revision=expected,
            method=method,
            description=description,
            subscription=key[2],
        )
        return Decided(revision, unchanged=False)

    async def _confirm(self, group: str, revision: int, *, unchanged: bool = False) -> pb.Changed:
        """Wait until every member has applied the changes up to the revision, or the time is over."""
        call = CALL.get()
        wait_s = call.within_s(self._settings.confirm_timeout_s)
        changed = await Confirmation(self._daemon, self._fleet, group, revision, call.credentials, wait_s).wait()
        changed.unchanged = unchanged
        return changed
