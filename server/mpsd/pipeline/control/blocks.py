"""Block keys behind dead letters, and release them."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mpsd.core.blocked_keys import BLOCKED, BlockedKey, BlockedKeyBook, entity_key
from mpsd.core.control import Entity, EntityKey
from mpsd.core.delivery import Delivery
from mpsd.core.retry import Disposition
from mpsd.core.states import DeliveryState
from mpsd.errors import ControlUnavailable
from mpsd.pipeline.control.controls import UNREAD
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.ports import Control, DlqPosition, Items

log = logging.getLogger("mpsd.blocked_keys")

FULL, UNWRITABLE = DeliveryState.BLOCKED_KEYS_FULL, DeliveryState.BLOCKED_KEYS_UNWRITABLE
BLOCKING = frozenset(Disposition) - {Disposition.SKIPPED, Disposition.BLOCKED}
"""Dispositions that block the key. A skip blocks none, because an operator has decided."""
REST_S = 0.5

OwnedKey = tuple[PartitionQueue, bytes]
"""A key, and the partition that it is of."""
Dead = tuple[PartitionQueue, Delivery, DlqPosition]
"""A record, and where its dead letter is."""


class BlockedKeys:
    """The blocked keys of a subscription, while this member owns their partitions.

    The owner alone decides, and what it says is in the control topic before it acts on it; what somebody who was the owner
    writes late is written over.

    Takes: dead letters; what the control topic says.
    Gives: blocked keys to the PartitionQueues.
    Holds at most: `keys_max` keys of the subscription, and what other members blocked in the same moment; of what was written
        and not read back the revision.

    Attributes:
        book: what the control topic says, of all partitions.
    """

    def __init__(
        self,
        group: str,
        subscription: str,
        keys_max: int,
        control: Control,
        pending: PendingQueue,
        lease_left_s: Callable[[], float] = lambda: 1.0,
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin with none.

        Args:
            keys_max: 0: none is ever blocked.
            lease_left_s: 0 or less: what others wrote may hold, and is left alone until the membership is confirmed.
            on_room: called when there may be room for another key.
        """
        self._lease_left_s = lease_left_s
        self._group = group
        self._subscription = subscription
        self._keys_max = keys_max
        self._control = control
        self._pending = pending
        self._mending: asyncio.Task[None] | None = None
        self._wrong: set[OwnedKey] = set()
        self._one = asyncio.Lock()
        self._writing: set[OwnedKey] = set()
        self._revisions: dict[OwnedKey, int] = {}
        self.book = BlockedKeyBook(group, subscription)
        self._on_room = on_room
        control.listen(BLOCKED.name, lambda key, entity: self.on_entity(key, entity, control.revision))
        control.listen_recreated(self.on_recreated)

    @property
    def is_on(self) -> bool:
        """Return True if keys are blocked at all."""
        return self._keys_max > 0

    def begin(self, queue: PartitionQueue) -> None:
        """Block the keys of a partition as the control topic says, once that is read up to its assignment."""
        if self.is_on:
            queue.blocked = dict(self.book.of(queue.assignment.tp))

    def wants(self, queue: PartitionQueue, delivery: Delivery, disposition: str) -> bool:
        """Return True if the key must be blocked before the record counts as done."""
        key = delivery.record.key
        return self.is_on and key is not None and disposition in BLOCKING and key not in queue.blocked

    def room(self) -> int:
        """Return how many more keys may be blocked now."""
        unread = sum(
            key in queue.blocked and key not in self.book.of(queue.assignment.tp) for queue, key in self._revisions
        )
        return max(0, self._keys_max - len(self.book) - unread)

    async def block(self, dead: Sequence[Dead]) -> None:
        """Block the keys of dead records.

        Raises:
            ControlUnavailable, ControlOff: they may be blocked or not; ask again.
        """
        async with self._one:
            found: dict[OwnedKey, BlockedKey | None] = {}
            for queue, delivery, dlq_position in dead:
                key, record = delivery.record.key, delivery.record
                if key is not None and key not in queue.blocked:
                    at = record.offset, dlq_position.partition, dlq_position.offset
                    found.setdefault((queue, key), BlockedKey(*at, queue.assignment.epoch))
            await self._write(found)
        for (queue, _), blocked in found.items():
            extra = {"code": "blocked_key.blocked", "subscription": self._subscription}
            offset = blocked.offset if blocked is not None else -1
            log.warning("%s@%d is a dead letter; its key is blocked", queue.assignment.tp, offset, extra=extra)

    async def release(self, queue: PartitionQueue, key: bytes) -> None:
        """Release a key: its records are delivered again, the postponed ones first.

        Raises:
            ControlUnavailable, ControlOff: it may be blocked or not; ask again.
        """
        async with self._one:
            await self._write({(queue, key): None})
        if self._is_ours(queue):
            self._pending.resume_key(queue, key)
        extra = {"code": "blocked_key.released", "subscription": self._subscription}
        log.info("%s: a key was released", queue.assignment.tp, extra=extra)
        self._on_room()

    def on_entity(self, entity_key: EntityKey, entity: Entity | None, revision: int) -> None:
        """Take in an entity of the control topic; only a former owner can have written news of a partition that is ours.

        Args:
            revision: offset of its record.
        """
        place = self.book.on_entity(entity_key, entity)
        if place is None or not self.is_on:
            return
        tp, key = place
        read = [known for known, written in self._revisions.items() if written <= revision]
        ours = [(q, key) for q in self._pending.queues.values() if q.assignment.tp == tp and UNREAD not in q.causes]
        for known in {*read, *ours}:
            if self._revisions.get(known, -1) <= revision and known not in self._writing:
                self._revisions.pop(known, None)
                self._compare(known)
        self._on_room()

    def on_recreated(self) -> None:
        """Compare all keys with a recreated control topic: its offsets begin again, without the records of the old one."""
        self._revisions.clear()
        for queue in self._pending.queues.values():
            for key in queue.blocked:
                self._compare((queue, key))

    async def stop(self) -> None:
        """Write nothing more."""
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.gather(self._mending, return_exceptions=True)

    async def _write(self, entries: Mapping[OwnedKey, BlockedKey | None]) -> None:
        """Write to the control topic, then to the partitions; leave alone the partitions that are not ours any more."""
        ours = {place: blocked for place, blocked in entries.items() if self._is_ours(place[0])}
        items: Items = [
            (
                entity_key(self._group, self._subscription, queue.assignment.tp, key),
                None if blocked is None else BLOCKED.document(replace(blocked, epoch=queue.assignment.epoch)),
            )
            for (queue, key), blocked in ours.items()
        ]
        if not items:
            return
        self._writing = set(ours)
        try:
            revision = await self._control.record(items)
        except BaseException:  # it may be written, and nobody need ask again
            for place in ours:
                self._compare(place)
            raise
        finally:
            self._writing = set()
        for (queue, key), blocked in ours.items():
            if blocked is None:
                queue.blocked.pop(key, None)
            else:
                queue.blocked[key] = blocked
            if self._control.revision < revision:
                self._revisions[queue, key] = revision
            else:  # it was read before it was known to be written
                self._revisions.pop((queue, key), None)
                self._compare((queue, key))

    def _compare(self, place: OwnedKey) -> None:
        """Write an entry again if somebody else has written another."""
        queue, key = place
        if not self._is_ours(queue) or (key in self.book.of(queue.assignment.tp)) == (key in queue.blocked):
            return
        self._wrong.add(place)
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend(), name=f"{self._subscription} blocked keys")

    async def _mend(self) -> None:
        while self._wrong:
            if self._lease_left_s() <= 0:
                await asyncio.sleep(REST_S)
                continue
            place = self._wrong.pop()
            queue, key = place
            try:
                async with self._one:
                    await self._write({place: queue.blocked.get(key)})
            except ControlUnavailable:  # the log says so itself
                self._wrong.add(place)
                await asyncio.sleep(REST_S)

    def _is_ours(self, queue: PartitionQueue) -> bool:
        return self._pending.queues.get(queue.assignment) is queue
