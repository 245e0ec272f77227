"""Deliberate bugs: each a small change of the real code that somebody might make."""

from typing import NamedTuple


class Edit(NamedTuple):
    """In a file of `server/mpsd`, text that stands there exactly once, and what replaces it."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """One bug."""

    name: str
    edits: tuple[Edit, ...]


def _one(name: str, file: str, old: str, new: str) -> Mutant:
    return Mutant(name, (Edit(file, old, new),))


_CLAIMS_KEPT = Edit("kafka/group.py", "if self._consumer._coordinator.member_id != self._member_id:", "if False:")

MUTANTS = (
    Mutant(
        "commits the highest polled offset when a partition leaves",
        (
            Edit(
                "pipeline/committer.py",
                "point = self._maps.point(assignment, queue.tracker)",
                'point = CommitPoint(queue.tracker.end, "") if queue.is_leaving else'
                " self._maps.point(assignment, queue.tracker)",
            ),
            Edit(
                "pipeline/handover.py",
                "queue.committed == queue.tracker.next_offset",
                "queue.committed == queue.tracker.end",
            ),
        ),
    ),
    _one(
        "fences before it drains",
        "pipeline/handover.py",
        "await self._adapter.revoke(assignment, self._drain_timeout_s)\n        while",
        "return self._forget(assignment) or self._source.release([assignment])\n        while",
    ),
    _one(
        "writes base and map from two snapshots",
        "pipeline/offset_maps.py",
        "encoded = encode(snapshot, assignment.tp, self.space.beside_reset(reset_id), assignment.incarnation)",
        "before = self.__dict__.setdefault('_before', {}); encoded = encode(before.get(assignment, snapshot),"
        " assignment.tp, self.space.beside_reset(reset_id), assignment.incarnation); before[assignment] = snapshot",
    ),
    _one(
        "reads base and map back from two answers",
        "kafka/positions.py",
        'CommitPoint(point.offset, point.metadata or "")',
        'CommitPoint(point.offset, self.__dict__.setdefault("_read", {}).setdefault(key, point).metadata or "")',
    ),
    _one(
        "does not check the map against the log",
        "core/offset_map.py",
        "if (runs and runs[-1].stop > log_end) or (attempts and attempts[-1][0] >= log_end):",
        "if False:",
    ),
    _one(
        "uses the map of the topic before it was recreated",
        "core/offset_map.py",
        "if (other := _other_incarnation(read.bound, incarnation)) is not None:",
        "if (other := None) is not None:",
    ),
    _one(
        "uses the commit of a deleted topic",
        "kafka/positions.py",
        "elif is_of_former_topic(found.metadata, tp, found.next_offset, incarnations[tp]):",
        "elif False:",
    ),
    _one(
        "forgets attempts",
        "pipeline/pending_queue.py",
        "if tracker.restored_attempts and (attempts",
        "if False and (attempts",
    ),
    _one(
        "counts a dead letter before it is acknowledged",
        "pipeline/dead_letter_writer.py",
        "            if isinstance(answer, BaseException):",
        "            if False:",
    ),
    _one(
        "accepts a stale outcome of an old epoch",
        "pipeline/writer.py",
        "self.in_flight -= 1\n        queue = self._pending.queues.get(delivery.assignment)",
        "self.in_flight -= 1\n        queues = self._pending.queues\n"
        "        queue = next((queues[a] for a in queues if a.tp == delivery.assignment.tp), None)",
    ),
    _one(
        "frees a lane before its retry is queued",
        "pipeline/writer.py",
        "                    self.waiting.back_off(delivery, now_s + after_s)\n",
        "                    queue.lanes.settled(delivery)\n"
        "                    delivery.seat = delivery.seat.IN_FLIGHT\n"
        "                    self.waiting.back_off(delivery, now_s + after_s)\n"
        "                    self._order.ready(queue)\n",
    ),
    _one(
        "treats the null key as a key",
        "pipeline/pending_queue.py",
        'NULL_KEY_LANE if ordering.null_key == "partition" else None',
        "NULL_KEY_LANE",
    ),
    Mutant(
        "waits at the commit point for a gap in the log",
        (
            Edit(
                "core/offset_tracker.py",
                "self.unfinished[offset] = delivery\n        self.end = next_offset_after(offset)",
                "self.unfinished[offset] = delivery\n        self.end += offset == self.end",
            ),
            Edit("core/offset_tracker.py", "self.end = max(self.end, end)", "pass"),
        ),
    ),
    _one(
        "drops the buffer of a partition that stays",
        "kafka/group.py",
        "        for tp in set(self._owned) - set(partitions):",
        "        for blocked in list(self._owned.values()):\n            self._drop(blocked)\n"
        "        for tp in set(self._owned) - set(partitions):",
    ),
    Mutant(
        "hands a leaving partition over too early",
        (
            Edit(
                "core/balance.py",
                "_mark_leaving(giver, shares[giver], members, tally)",
                "_mark_leaving(giver, shares[giver], members, tally, shares)",
            ),
            Edit(
                "core/balance.py",
                "members: Mapping[str, Member], tally: _Tally) -> None:",
                "members: Mapping[str, Member], tally: _Tally, shares) -> None:",
            ),
            Edit(
                "core/balance.py",
                "share.leaving.add(movable[topic].pop())",
                "moved = movable[topic].pop(); share.partitions.discard(moved); shares[taker].partitions.add(moved)",
            ),
        ),
    ),
    Mutant(
        "accepts a stale claim of a partition",
        (
            _CLAIMS_KEPT,
            Edit(
                "core/balance.py",
                "claim.epoch > members[other].claims[tp].epoch",
                "claim.epoch < members[other].claims[tp].epoch",
            ),
        ),
    ),
    Mutant(
        "commits a drain after the expulsion",
        (
            Edit("kafka/membership.py", "if not all(map(is_ours, points)):", "if False:"),
            Edit(
                "kafka/membership.py",
                "            self._task.cancel()\n\n    async def commit(",
                "            pass\n\n    async def commit(",
            ),
        ),
    ),
    _one(
        "sends a commit while a join is outstanding",
        "kafka/membership.py",
        "        self._open.clear()\n        async with self._one:\n            pass\n",
        "        pass\n",
    ),
    _one(
        "uses only the session time-out for the lease",
        "kafka/membership.py",
        "min(session_timeout_ms, rebalance_timeout_ms)",
        "session_timeout_ms",
    ),
    _one(
        "delivers after a thaw without a lease",
        "pipeline/writer.py",
        "        if lease_left_s > 0:",
        "        if True:",
    ),
    _one(
        "is off by one between offset and next_offset",
        "core/offset_tracker.py",
        "    return offset + 1",
        "    return offset",
    ),
    _one(
        "charges attempts while the breaker is open",
        "core/retry_policy.py",
        "            not outcome.request\n            and not breaker.is_open\n            and breaker.successes -"
        " failures.deferrals_mark >= self._rules.breaker.successes_between\n",
        "            True\n",
    ),
    _one(
        "does not give back the attempts of an outage",
        "core/retry_policy.py",
        "        if self.breaker.is_open:\n            self._probation.give_back()\n",
        "",
    ),
    _one(
        "charges each record for failures of all records",
        "core/retry_policy.py",
        "        elif self.breaker.is_open or not self._is_own_fault(failures):\n",
        "        elif self.breaker.is_open:\n",
    ),
    _one(
        "treats a poison record as an outage",
        "core/breaker.py",
        "        return len(self._failed_lanes) >= self._rules.lanes_min",
        "        return len(self._failed_lanes) >= 1",
    ),
    _one(
        "dead-letters rejected records while the brake is engaged",
        "core/breaker.py",
        "        if self.state is ALL_REJECTED:\n            self._rest(lane, at, 0.0)\n            return True\n",
        "        if self.state is ALL_REJECTED:\n            self._rest(lane, at, 0.0)\n            return False\n",
    ),
    _one(
        "restarts the count of rejections at each one",
        "core/breaker.py",
        "        self.rejections += 1\n        return False",
        "        self.rejections = 1\n        return False",
    ),
    _one(
        "releases a new brake by an old success",
        "core/breaker.py",
        "            if succeeded_ms < self.changed_ms:\n",
        "            if succeeded_ms < 0:\n",
    ),
    _one(
        "probes only the oldest lane",
        "pipeline/writer.py",
        "self._order.take(1, 1) if self._probes % 2 else self._order.take_newest()",
        "self._order.take(1, 1)",
    ),
    _one(
        "charges every record for one lost connection",
        "core/lost.py",
        "        if was_alone:\n",
        "        if lost:\n",
    ),
    _one(
        "notices the end of the lease a quarter of a second late",
        "pipeline/writer.py",
        "await asyncio.sleep(left_s if 0 < left_s < LEASE_GUARD_S else LEASE_GUARD_S)",
        "await asyncio.sleep(LEASE_GUARD_S)",
    ),
    _one(
        "ignores a pause after a rebalance",
        "pipeline/control/controls.py",
        "self._reading.add_done_callback(self._on_task_done)\n        self._stop_or_go(queue)",
        "self._reading.add_done_callback(self._on_task_done)",
    ),
    _one("delivers before the control state is read", "pipeline/control/controls.py", "queue.stop(UNREAD)", "pass"),
    _one(
        "applies a reset twice",
        "pipeline/offset_maps.py",
        "with_reset(reset_id, encoded.text)",
        "encoded.text",
    ),
    _one(
        "resets a partition before it is drained",
        "pipeline/handover.py",
        "await self._adapter.revoke(assignment, self._drain_timeout_s)\n        await self._dead_letters",
        "await self._dead_letters",
    ),
    _one("keeps the epoch at a reset", "kafka/group.py", "self._assignor.releases += 1", "pass"),
    _one(
        "replays beside a live record of the key",
        "pipeline/replay/sender.py",
        "self.means.pending.lane_of(key),",
        'f"replay {key!r}",',
    ),
    Mutant(
        "writes the progress of a replay too early",
        (
            Edit("core/replay_progress.py", "next_offset=now.next_offset,", "next_offset=tracker.end,"),
            Edit("core/replay_progress.py", "map_text=encode(now, tp, SPACE).text,", 'map_text="",'),
            Edit("core/replay_progress.py", "done=now.next_offset >= bound,", "done=tracker.end >= bound,"),
        ),
    ),
    Mutant(
        "finishes a dead-lettered record before its key is blocked",
        (
            Edit(
                "pipeline/dead_letter_writer.py",
                "self._unblocked.append(entry)\n",
                "self._unblocked.append(entry)\n                self._finish(entry)\n",
            ),
            Edit(
                "pipeline/dead_letter_writer.py",
                "                self._finish(entry)\n                if queue not in",
                "                if queue not in",
            ),
        ),
    ),
    _one(
        "delivers a later record of a blocked key",
        "pipeline/writer.py",
        "is_blocked = queue.blocked and delivery.record.key in queue.blocked and not delivery.releases",
        "is_blocked = False",
    ),
    _one(
        "loses blocked keys at a rebalance",
        "pipeline/control/blocks.py",
        "queue.blocked = dict(self.book.of(queue.assignment.tp))",
        "queue.blocked = {}",
    ),
    _one(
        "replays a blocked key in the order of its dead letters",
        "core/blocked_key_dead_letters.py",
        "self.places.sort()",
        "pass",
    ),
    _one(
        "replays a blocked key without its pending dead letters",
        "pipeline/replay/blocked_keys.py",
        "if is_unread or reach.is_behind(key, place):",
        "if False:",
    ),
    _one(
        "releases a blocked key while its lane is not empty",
        "pipeline/replay/blocked_keys.py",
        "{key for key in drained & found.keys() if",
        "{key for key in found.keys() if",
    ),
    _one(
        "continues with a blocked key after a failed replay",
        "pipeline/replay/blocked_keys.py",
        "            if delivery.is_dead_again:\n",
        "            if False:\n",
    ),
    _one(
        "releases a blocked key before its replay is durable",
        "pipeline/replay/blocked_keys.py",
        "if self._means.may_write() and await self._report() and",
        "if self._means.may_write() and",
    ),
)
