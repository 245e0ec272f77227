"""Apply what operators decided: pauses, limits, resets, and partitions that wait until they are known."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mpsd.core.control import Entity, EntityKey, Kind
from mpsd.core.limits import LIMIT, Limit
from mpsd.core.pauses import PAUSE, Pause, Scope, next_end_ms, stopped
from mpsd.core.resets import RESET, Reset
from mpsd.core.states import DeliveryState
from mpsd.pipeline.control.resets import Resets
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.pipeline.settings import Settings
from mpsd.pipeline.writer import UNLIMITED, Writer
from mpsd.ports import Clock, Control, Listener

K = TypeVar("K", bound=tuple[Any, ...])
V = TypeVar("V")

UNREAD, PAUSED = DeliveryState.STARTING, DeliveryState.PAUSED
END_LOOK_S_MAX = 60.0
"""The wall clock may be set: the end of a pause is never further from it than this."""


def decided(kind: Kind[K, V], group: str, subscription: str, decide: Callable[[K, V | None], None]) -> Listener:
    """Return a listener for the entities of one subscription, which `decide` gets with their values.

    Args:
        decide: None: the entity was removed, or cannot be read.
    """

    def hear(entity_key: EntityKey, entity: Entity | None) -> None:
        key = kind.key_of(entity_key)
        if key is not None and entity_key[0] == group and entity_key[2] == subscription:
            decide(key, kind.parse(entity_key, entity) if entity is not None else None)

    return hear


class Controls:
    """The pauses, limits and resets of a subscription, applied.

    Takes: the pauses, the limit and the reset of its subscription, whenever they change; partitions as they are assigned.
    Gives: causes to stop to the PartitionQueues, limits to the Writer.
    Holds at most: the pauses of its subscription; one read of the control log, shared by the partitions that wait for it.
    """

    def __init__(
        self,
        control: Control,
        settings: Settings,
        pending: PendingQueue,
        writer: Writer,
        resets: Resets,
        clock: Clock,
        on_task_done: Callable[[asyncio.Task[None]], None],
        on_read: Callable[[PartitionQueue], None] = lambda _: None,
    ) -> None:
        """Begin with nothing stopped.

        Args:
            on_task_done: told how a read of the control log ended; it fails only by a bug.
            on_read: all that was decided until its assignment is known of a partition; nothing of it was delivered yet.
        """
        self._control = control
        self._settings = settings
        self._pending = pending
        self._writer = writer
        self._resets = resets
        self._on_read = on_read
        self._clock = clock
        self._on_task_done = on_task_done
        self._share = 1.0
        self._unread: list[PartitionQueue] = []
        self._reading: asyncio.Task[None] | None = None
        self._end: asyncio.TimerHandle | None = None
        self._paused: dict[Scope, Pause] = {}
        self.pauses: Sequence[Pause] = ()
        self.limit: Limit | None = None
        self._follow(PAUSE, self._on_pause)
        self._follow(LIMIT, lambda _, limit: self.set_limit(limit))
        self._follow(RESET, lambda _, reset: self.set_reset(reset))

    def _follow(self, kind: Kind[K, V], decide: Callable[[K, V | None], None]) -> None:
        settings = self._settings
        self._control.listen(kind.name, decided(kind, settings.sender.group, settings.name, decide))

    def begin(self, queue: PartitionQueue) -> None:
        """Stop a partition that was just assigned until all that was decided until now is known."""
        if self._control.is_on:
            queue.stop(UNREAD)
            self._unread.append(queue)
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._release(), name="control read for assigned partitions")
                self._reading.add_done_callback(self._on_task_done)
        self._stop_or_go(queue)

    async def stop(self) -> None:
        """Stop all waiting."""
        if self._end is not None:
            self._end.cancel()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _on_pause(self, scope: Scope, pause: Pause | None) -> None:
        if pause is None:
            self._paused.pop(scope, None)
        else:
            self._paused[scope] = pause
        self.set_pauses(list(self._paused.values()))

    def set_pauses(self, pauses: Sequence[Pause]) -> None:
        """Set all pauses; no delivery against them starts after this returns."""
        self.pauses = tuple(pauses)
        self._apply()

    def set_limit(self, limit: Limit | None) -> None:
        """Set the limit; None: as configured."""
        self.limit = limit
        concurrency_max = limit.concurrency_max if limit is not None else None
        self._writer.concurrency_max = UNLIMITED if concurrency_max is None else concurrency_max
        self._set_rate()

    @property
    def reset(self) -> Reset | None:
        """Return the last reset, applied or not."""
        return self._resets.reset

    def set_reset(self, reset: Reset | None) -> None:
        """Set the reset, and apply it to the assigned partitions that it names."""
        self._resets.reset = reset
        for queue in list(self._pending.queues.values()):
            self.stays(queue)

    def stays(self, queue: PartitionQueue) -> None:
        """Apply to a partition that does not leave after all what was decided meanwhile."""
        if UNREAD not in queue.causes:
            self._resets.admit(queue)

    def on_share(self, share: float) -> None:
        """See `AssignmentListener`."""
        self._share = share
        self._set_rate()

    def waiting_for(self) -> str:
        """Return why partitions that were assigned wait; empty if none does."""
        is_unread = any(UNREAD in queue.causes for queue in self._pending.queues.values())
        return (self.problem() or "reading the control topic") if is_unread else ""

    def problem(self) -> str:
        """Return why the control topic cannot be read now; all that is known of it stays valid."""
        return self._control.waiting_for()

    async def _release(self) -> None:
        """Read the control log, and resume the partitions that waited; those that come during a read wait for the next."""
        while self._unread:
            queues, self._unread = self._unread, []
            await self._control.must_read_to_end()
            for queue in queues:
                if self._pending.queues.get(queue.assignment) is queue:
                    self._on_read(queue)
                    self._resets.admit(queue)
                    self._pending.resume_partition(queue, UNREAD)

    def _apply(self) -> None:
        for queue in self._pending.queues.values():
            self._stop_or_go(queue)
        self._writer.wake()
        if self._end is not None:
            self._end.cancel()
            self._end = None
        now_ms = self._now_ms()
        if (end_ms := next_end_ms(self.pauses, now_ms)) is not None:
            wait_s = min(END_LOOK_S_MAX, (end_ms - now_ms) / 1000)
            self._end = asyncio.get_running_loop().call_later(wait_s, self._apply)

    def _stop_or_go(self, queue: PartitionQueue) -> None:
        whole, keys = stopped(self.pauses, queue.assignment.tp, self._now_ms())
        queue.paused_keys = keys
        self._pending.resume_heads(queue, keys)
        if whole:
            queue.stop(PAUSED)
        elif PAUSED in queue.causes:
            self._pending.resume_partition(queue, PAUSED)

    def _set_rate(self) -> None:
        limit = self.limit
        rate = self._settings.rate_max_per_s if limit is None or limit.rate_max_per_s is None else limit.rate_max_per_s
        self._writer.bucket.set_rate(rate * self._share if rate else None, self._clock.monotonic_s())
        self._writer.wake()

    def _now_ms(self) -> int:
        return int(self._clock.wall_s() * 1000)
