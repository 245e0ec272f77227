"""Decisions of operators at run time: read from the control topic, changed through it, passed on to listeners."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from mpsd.core.audit import AuditEntry
from mpsd.core.control import (
    ControlState,
    Entity,
    EntityKey,
    Provenance,
    Request,
    described,
)
from mpsd.errors import ControlOff, ControlUnavailable, RequestIdReused, RevisionConflict
from mpsd.ports import AuditLog, ControlLog, Items, Listener, control_record

log = logging.getLogger("mpsd.control")

REST_S = 0.5
"""Between two tries to read to the end that somebody must wait for."""
OFF = 'control.topic = "" keeps no control state: nothing can be changed at run time; name a topic and restart'


class ControlPlane:
    """The control state of this daemon's groups.

    Takes: the records of the control log; changes of operators, one at a time.
    Gives: the state; each change of an entity to the listeners of its kind, in the step in which it is applied.
    Holds at most: what `ControlState` does.

    Attributes:
        state: as of the last record that was read.
        history: who changed what; None: it is not kept.
    """

    def __init__(
        self,
        log: ControlLog | None,
        audit: AuditLog | None,
        groups: Collection[str],
        instance: str,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        """Begin with nothing known.

        Args:
            log: None keeps no control state.
            audit: None keeps no history.
            instance: what others call this daemon.
        """
        self._log = log
        self.history = audit
        self._instance = instance
        self._wall_s = wall_s
        self._one = asyncio.Lock()
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)
        self._watched: EntityKey | None = None
        self._seen: list[int] = []
        self._restoring: set[asyncio.Task[None]] = set()
        self._changing: set[asyncio.Task[int]] = set()
        self._recreated_listeners: list[Callable[[], None]] = []
        self.state = ControlState(groups)

    @property
    def is_on(self) -> bool:
        return self._log is not None

    @property
    def revision(self) -> int:
        """Offset of the last control record that was applied; -1: none."""
        return self.state.revision

    def listen(self, kind: str, listener: Listener) -> None:
        """Call the listener at each change of an entity of the kind, with None if the entity was removed; it may not block."""
        self._listeners[kind].append(listener)

    def listen_recreated(self, listener: Callable[[], None]) -> None:
        """See `Control`."""
        self._recreated_listeners.append(listener)

    async def start(self) -> None:
        """Begin to read; returns at once."""
        if self._log is not None:
            await self._log.start(self)

    async def close(self) -> None:
        under_way = [*self._restoring, *self._changing]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._log is not None:
            await self._log.close()
        if self.history is not None:
            await self.history.close()

    def waiting_for(self) -> str:
        """Return the reason why the control topic cannot be read now; empty if it can, or if there is none."""
        return self._log.waiting_for() if self._log is not None else ""

    def request(self, request_id: str) -> Request | None:
        """Return the change made for a request id in the last 24 hours of the log, as far as the log was read."""
        return self.state.request(request_id)

    async def read_to_end(self) -> int:
        """Apply all that is in the log at the time of the call; return the revision.

        Raises:
            ControlUnavailable: not within `control.write_timeout_s`.
        """
        if self._log is not None:
            await self._log.read_to_end()
        return self.revision

    async def must_read_to_end(self) -> None:
        """Apply all that is in the log at the time of the call; retry until that succeeds."""
        while True:
            try:
                await self.read_to_end()
            except ControlUnavailable as error:
                if not self.waiting_for():  # else the log has said so itself
                    log.warning("%s; retrying", error, extra={"code": error.code})
                await asyncio.sleep(REST_S)
            else:
                return

    async def change(
        self,
        key: EntityKey,
        document: Mapping[str, Any] | None,
        *,
        who: str,
        reason: str,
        request_id: str,
        expected_revision: int | None = None,
        method: str,
        description: str,
        subscription: str = "",
    ) -> int:
        """Decide something for the fleet; returns its revision once it is durable and applied here.

        Cancelled, it is done all the same: nobody can take back what may be written, and the history must have it.

        Args:
            document: None removes the entity.
            request_id: the same id within 24 hours is the same change, done once; empty: none.
            expected_revision: only if the entity's revision still is this one; 0: only if there is none.
            subscription: for the audit; by default the first part of the key that tells entities apart.

        Raises:
            ControlOff: there is no control topic.
            ControlUnavailable: Kafka did not answer in time; the message says whether it may be written.
            RevisionConflict: the entity has changed since; nothing was written, unless the message says so.
            RequestIdReused: the id stands for a change of something else.
        """
        provenance = Provenance(who, reason, int(self._wall_s() * 1000), request_id, self._instance)
        named = subscription or (key[2] if len(key) > 2 else "")
        work = self._change(key, document, provenance, expected_revision, method, description, named)
        self._changing.add(task := asyncio.create_task(work, name="control change"))
        task.add_done_callback(self._changing.discard)
        return await asyncio.shield(task)

    async def _change(
        self,
        key: EntityKey,
        document: Mapping[str, Any] | None,
        provenance: Provenance,
        expected_revision: int | None,
        method: str,
        description: str,
        subscription: str,
    ) -> int:
        request_id = provenance.request_id
        async with self._one:
            await self._log_or_raise().read_to_end()
            if (done := self.state.request(request_id)) is not None:
                if done.key != key:
                    raise RequestIdReused(f"request id {request_id} was used for another change")
                return done.revision
            before = self._revision_of(key)
            if expected_revision is not None and before != expected_revision:
                now = f"at revision {before}" if before else "not set"
                words = f"expected at revision {expected_revision}, but it is {now}: nothing was changed"
                raise RevisionConflict(words, before, described(self.state.get(key)))
            revision = await self._write_and_read_back(key, document, provenance)
            between = [offset for offset in self._seen if offset < revision]
        await self.audit(AuditEntry(provenance, revision, method, key[0], subscription, description))
        if between and expected_revision is not None:
            words = (
                f"somebody else changed it at the same time (revision {between[-1]}); this change was written after that"
                f" and holds now, at revision {revision}"
            )
            raise RevisionConflict(words, self._revision_of(key), described(self.state.get(key)))
        return revision

    async def is_set(self, key: EntityKey, request_id: str) -> bool:
        """Return True if the entity exists, or if this very request has removed it.

        Raises:
            ControlOff, ControlUnavailable: see `change`.
        """
        await self._log_or_raise().read_to_end()
        return self.state.get(key) is not None or self.state.request(request_id) is not None

    async def record(self, items: Items) -> int:
        """Write what the daemon itself has to remember, unconditionally; returns the offset of the last.

        Raises:
            ControlOff, ControlUnavailable: see `change`.
        """
        provenance = Provenance("mpsd", "", int(self._wall_s() * 1000), "", self._instance)
        return await self._log_or_raise().write([control_record(key, document, provenance) for key, document in items])

    async def audit(self, entry: AuditEntry) -> None:
        """Keep in the log and in the history that something was changed; trouble with the history undoes nothing."""
        extra = {"code": "control.changed", "subscription": entry.subscription}
        who, reason = entry.provenance.who, entry.provenance.reason
        log.info("%s by %s: %s (%s)", entry.method, who, entry.description, reason, extra=extra)
        if self.history is None:
            return
        try:
            await self.history.append(entry)
        except ControlUnavailable as error:
            log.error(
                "a change is missing from the history: %s; the change itself is in effect",
                error,
                extra={"code": "control.audit_failed"},
            )

    def on_record(
        self,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        timestamp_ms: int,
    ) -> None:
        """See `ControlListener`."""
        ignored = self.state.ignored.total()
        changed = self.state.apply(offset, key, value, headers, timestamp_ms)
        if self.state.ignored.total() > ignored:
            extra = {"code": "control.record_ignored"}
            log.warning(
                "control record at offset %d is ignored: it is from another program, or from a later version",
                offset,
                extra=extra,
            )
        if changed is None:
            return
        if changed == self._watched:
            self._seen.append(offset)
        entity = self.state.get(changed)
        for listener in self._listeners[changed[1]]:
            listener(changed, entity)

    def on_recreated(self) -> None:
        """See `ControlListener`. What was decided holds on, and is written to the new topic."""
        for listener in self._recreated_listeners:
            listener()
        self._restoring.add(task := asyncio.create_task(self._restore(self.state.begin_anew()), name="control restore"))
        task.add_done_callback(self._restoring.discard)

    async def _restore(self, known: Mapping[EntityKey, Entity]) -> None:
        """Write what the new topic lacks, until it is there; what somebody else wrote meanwhile stands."""
        while True:
            await self.must_read_to_end()
            lacking = [(key, entity) for key, entity in known.items() if self.state.get(key) is entity]
            if not lacking:
                return
            records = [control_record(key, entity.document, entity.provenance) for key, entity in lacking]
            try:
                await self._log_or_raise().write(records)
            except ControlUnavailable as error:
                log.warning("writing to the new control topic failed: %s; retrying", error, extra={"code": error.code})
                await asyncio.sleep(REST_S)
            else:
                extra = {"code": "control.restored"}
                log.warning(
                    "the control topic was recreated: %d entries of the old topic were written to the new one",
                    len(lacking),
                    extra=extra,
                )

    async def _write_and_read_back(
        self, key: EntityKey, document: Mapping[str, Any] | None, provenance: Provenance
    ) -> int:
        log = self._log_or_raise()
        self._watched, self._seen = key, []
        try:
            revision = await log.write([control_record(key, document, provenance)])
            await log.read_to_end()
        finally:
            self._watched = None
        if revision not in self._seen:
            raise ControlUnavailable(f"the change is in the control topic, but is not applied: {self.state!r}")
        return revision

    def _revision_of(self, key: EntityKey) -> int:
        entity = self.state.get(key)
        return entity.revision if entity is not None else 0

    def _log_or_raise(self) -> ControlLog:
        if self._log is None:
            raise ControlOff(OFF)
        return self._log
