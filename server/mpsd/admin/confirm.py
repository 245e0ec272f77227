"""A change is confirmed when every member of the group that is listed *after* the write has applied it.

A member that joins later reads the control topic to its end before it delivers, so it has read the change: see
`docs/decisions/confirmed-changes.md`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.daemon import Steerable
from mpsd.admin.fleet import Fleet, silent
from mpsd.admin.merge import sort_instances
from mpsd.admin.status import instance_of
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.listeners.reach import faults
from mpsd.ports import Peer

ASK_AGAIN_S = 0.1
"""Between two looks at members that have not applied the change, or at a group that is rebalancing."""
LIST_AGAIN_S = 1.0
"""How old a list of members may become that lacks somebody: who is dead leaves the group, and holds up nothing then."""


async def confirm(
    daemon: Steerable,
    fleet: Fleet,
    group: str,
    revision: int,
    metadata: Sequence[tuple[str, str]],
    timeout_s: float,
) -> pb.Changed:
    """Wait until all have applied the change, or the time is over.

    Args:
        metadata: the caller's credentials, for the others.
        timeout_s: 0 or more.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    problem = ""
    peers: Sequence[Peer] = ()
    while True:
        left_s = deadline_s - loop.time()
        try:
            async with asyncio.timeout(max(0.1, left_s)):
                is_stable, peers, _ = await daemon.members(group)
            problem = "" if is_stable else "the group is rebalancing: who is in it is not known yet"
        except TimeoutError:
            problem = problem or "Kafka did not list the group's members in time"
        except (KafkaUnavailable, KafkaRefused) as error:
            problem = str(error)
        if not problem:
            changed = await _applied(daemon, fleet, peers, revision, metadata, deadline_s, timeout_s)
            if changed is not None:
                return changed
            continue
        if loop.time() + ASK_AGAIN_S >= deadline_s:
            return await _not_known(daemon, fleet, group, revision, metadata, problem)
        await asyncio.sleep(ASK_AGAIN_S)


async def _applied(
    daemon: Steerable,
    fleet: Fleet,
    peers: Sequence[Peer],
    revision: int,
    metadata: Sequence[tuple[str, str]],
    deadline_s: float,
    timeout_s: float,
) -> pb.Changed | None:
    """Ask the members until all have applied the change, or the time is over; None where they are to be listed again."""
    loop = asyncio.get_running_loop()
    listed_s = loop.time()
    others = sorted(set(peers) - {daemon.peer})
    wrong = faults({daemon.peer, *others})
    known = {peer: silent(peer, wrong.get(peer, "")) for peer in others}
    while True:
        asked = [(peer, known[peer]) for peer in others if peer not in wrong]
        missing = [peer for peer, said in asked if not said.answered or said.control_revision < revision]
        answers = await fleet.ask(missing, ask_instance, metadata, max(0.1, deadline_s - loop.time()), timeout_s)
        known |= dict(answers.given)
        said_nothing = {(each.address, each.id): each for each in answers.silent}
        known |= {p: said_nothing[p.admin, p.instance] for p in missing if (p.admin, p.instance) in said_nothing}
        instances = [instance_of(daemon, wrong.get(daemon.peer)), *known.values()]
        needed = [instance_of(daemon), *(known[peer] for peer in others if peer not in wrong)]
        is_applied = all(instance.answered and instance.control_revision >= revision for instance in needed)
        if is_applied or loop.time() + ASK_AGAIN_S >= deadline_s:
            is_confirmed = is_applied and not wrong
            return pb.Changed(revision=revision, confirmed=is_confirmed, instances=sort_instances(instances))
        await asyncio.sleep(ASK_AGAIN_S)
        if loop.time() - listed_s >= LIST_AGAIN_S:
            return None


async def _not_known(
    daemon: Steerable,
    fleet: Fleet,
    group: str,
    revision: int,
    metadata: Sequence[tuple[str, str]],
    problem: str,
) -> pb.Changed:
    """Who is in the group could not be found out: those who were in it are asked once, and it is not confirmed."""
    answers = await fleet.ask(fleet.others(group), ask_instance, metadata, 1.0)
    own = instance_of(daemon)
    own.problem = "; ".join(filter(None, (own.problem, problem)))
    instances = [own, *(said for _, said in answers.given), *answers.silent]
    return pb.Changed(revision=revision, confirmed=False, instances=sort_instances(instances))


async def ask_instance(stub: Any, timeout_s: float, metadata: Sequence[tuple[str, str]]) -> pb.Instance:
    """One instance about itself."""
    request = pb.GetStatusRequest(scope=pb.SCOPE_INSTANCE, subscription="")
    answer: pb.GetStatusResponse = await stub.GetStatus(request, timeout=timeout_s, metadata=metadata)
    return answer.status.instances[0]
