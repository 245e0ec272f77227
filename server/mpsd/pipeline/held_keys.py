"""Keys that are held behind a dead letter: the way in, and the way out."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mpsd.core.control import Entity, EntityKey
from mpsd.core.delivery import Delivery
from mpsd.core.held_keys import HeldBook, HeldKey, entity_key
from mpsd.core.retry import Disposition
from mpsd.errors import ControlUnavailable
from mpsd.pipeline.controls import UNREAD, Control
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.ports import Landed

log = logging.getLogger("mpsd.held_keys")

FULL = "held-keys-full"
UNWRITABLE = "held-keys-unwritable"
HOLDING = frozenset(Disposition) - {Disposition.SKIPPED, Disposition.HELD}
"""A dead letter of these holds its key. What an operator skips does not: it is decided."""
REST_S = 0.5

Place = tuple[PartitionQueue, bytes]
"""A key, and the partition that it is of."""
Dead = tuple[PartitionQueue, Delivery, Landed]
"""A record, and where its dead letter is."""


class _Seen(NamedTuple):
    """What the control topic said of a key while it was being written."""

    revision: int
    is_held: bool


class HeldKeys:
    """Holds the keys of a subscription, while this member owns their partitions.

    The owner alone decides, and what it says is in the control topic before it acts on it; what somebody who was the owner
    writes late is written over.

    Takes: dead letters; what the control topic says.
    Gives: held keys to the PartitionQueues.
    Holds at most: `keys_max` keys of the subscription, and what other members held in the same moment.

    Attributes:
        book: what the control topic says, of all partitions.
        on_room: called when there may be room for another.
    """

    def __init__(
        self,
        group: str,
        subscription: str,
        keys_max: int,
        control: Control,
        pending: PendingQueue,
    ) -> None:
        """Begin with none.

        Args:
            keys_max: 0: none is ever held.
        """
        self._group = group
        self._subscription = subscription
        self._keys_max = keys_max
        self._control = control
        self._pending = pending
        self._mending: asyncio.Task[None] | None = None
        self._wrong: set[Place] = set()
        self._one = asyncio.Lock()
        self._writing: dict[Place, _Seen | None] = {}
        self.book = HeldBook(group, subscription)
        self.on_room: Callable[[], None] = lambda: None

    @property
    def is_on(self) -> bool:
        """Whether keys are held at all."""
        return self._keys_max > 0

    def begin(self, queue: PartitionQueue) -> None:
        """What was decided until its assignment is known."""
        if self.is_on:
            queue.held = dict(self.book.of(queue.assignment.tp))

    def wants(self, queue: PartitionQueue, delivery: Delivery, disposition: str) -> bool:
        """Whether the key must be held before the record counts as done."""
        key = delivery.record.key
        return self.is_on and key is not None and disposition in HOLDING and key not in queue.held

    def room(self) -> int:
        """How many more may be held now."""
        return max(0, self._keys_max - len(self.book))

    async def hold(self, dead: Sequence[Dead]) -> None:
        """From now on nothing of their keys is delivered.

        Raises:
            ControlUnavailable, ControlOff: they may be held or not; ask again.
        """
        async with self._one:
            found: dict[Place, HeldKey] = {}
            for queue, delivery, landed in dead:
                key, record = delivery.record.key, delivery.record
                if key is not None and key not in queue.held:
                    found.setdefault((queue, key), HeldKey(record.offset, landed.partition, landed.offset))
            if found:
                await self._write(found)
        for (queue, _), held in found.items():
            extra = {"code": "held.held", "subscription": self._subscription}
            log.warning("%s: the key of the record at %d is held", queue.assignment.tp, held.offset, extra=extra)

    async def release(self, queue: PartitionQueue, key: bytes) -> None:
        """It is delivered again: what was set aside first.

        Raises:
            ControlUnavailable, ControlOff: it may be held or not; ask again.
        """
        async with self._one:
            await self._write({(queue, key): None})
        if self._is_ours(queue):
            self._pending.take_in(queue, key)
        extra = {"code": "held.released", "subscription": self._subscription}
        log.info("%s: a key is held no longer", queue.assignment.tp, extra=extra)
        self.on_room()

    def on_entity(self, entity_key: EntityKey, entity: Entity | None, revision: int) -> None:
        """The control topic says something of a key; of a partition that is ours it can be news only from a former owner.

        Args:
            revision: offset of its record.
        """
        place = self.book.on_entity(entity_key, entity)
        if place is None or not self.is_on:
            return
        tp, key = place
        for queue in self._pending.queues.values():
            if queue.assignment.tp == tp and UNREAD not in queue.causes and revision > queue.held_revision:
                seen = _Seen(revision, entity is not None)
                if (queue, key) in self._writing:
                    self._writing[queue, key] = seen
                else:
                    self._compare(queue, key, seen)
        self.on_room()

    async def stop(self) -> None:
        """Write nothing more."""
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.gather(self._mending, return_exceptions=True)

    async def _write(self, said: Mapping[Place, HeldKey | None]) -> None:
        """First to the control topic, then to the partitions."""
        items = [
            (self._entity_key(queue, key), None if held is None else held.document(queue.assignment.epoch))
            for (queue, key), held in said.items()
        ]
        self._writing = dict.fromkeys(said)
        try:
            revision = await self._control.record(items)
        finally:
            during, self._writing = self._writing, {}
        for (queue, key), held in said.items():
            if self._is_ours(queue):
                self._keep(queue, key, held)
                queue.held_revision = revision
                if (seen := during[queue, key]) is not None and seen.revision > revision:
                    self._compare(queue, key, seen)

    def _keep(self, queue: PartitionQueue, key: bytes, held: HeldKey | None) -> None:
        tp = queue.assignment.tp
        if held is None:
            queue.held.pop(key, None)
            self.book.drop(tp, key)
        else:
            queue.held[key] = held
            self.book.see(tp, key, held)

    def _compare(self, queue: PartitionQueue, key: bytes, seen: _Seen) -> None:
        """Somebody else has written: what holds is said again."""
        if seen.is_held == (key in queue.held):
            return
        self._wrong.add((queue, key))
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend(), name=f"{self._subscription} held keys")

    async def _mend(self) -> None:
        while self._wrong:
            queue, key = next(iter(self._wrong))
            try:
                async with self._one:
                    if self._is_ours(queue):
                        await self._write({(queue, key): queue.held.get(key)})
            except ControlUnavailable:  # the log says so itself
                await asyncio.sleep(REST_S)
            else:
                self._wrong.discard((queue, key))

    def _is_ours(self, queue: PartitionQueue) -> bool:
        return self._pending.queues.get(queue.assignment) is queue

    def _entity_key(self, queue: PartitionQueue, key: bytes) -> EntityKey:
        return entity_key(self._group, self._subscription, queue.assignment.tp, key)
