"""Apply what operators decided: pauses, limits, resets, and partitions that wait until they are known."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpsd.core.control import EntityKey
from mpsd.core.delivery import Assignment
from mpsd.core.limits import Limit
from mpsd.core.pauses import Pause, next_end_ms, stopped
from mpsd.core.resets import Reset
from mpsd.core.states import DeliveryState
from mpsd.errors import ControlOff
from mpsd.pipeline.control.resets import Resets
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.pipeline.writer import UNLIMITED, Writer
from mpsd.ports import Clock

UNREAD, PAUSED = DeliveryState.STARTING, DeliveryState.PAUSED
END_LOOK_S_MAX = 60.0
"""The wall clock may be set: the end of a pause is never further from it than this."""


Items = Sequence[tuple[EntityKey, Mapping[str, Any] | None]]
"""Entities and what is to be remembered of them; None: they are gone."""


async def _nothing() -> None:
    """Read nothing."""


async def _nowhere(_items: Items) -> int:
    raise ControlOff("there is no control topic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The control state, as far as a pipeline asks for it.

    Attributes:
        read_to_end: returns once all that is in the control log at the time of the call is applied, however long it takes.
        waiting_for: why it cannot be read now, in words; empty if it can.
        record: remembers them all, acknowledged; raises ControlUnavailable or ControlOff.
        is_on: whether there is a control log.
        revision: offset of the last control record that was applied; -1: none.
    """

    read_to_end: Callable[[], Awaitable[None]] = _nothing
    waiting_for: Callable[[], str] = str
    record: Callable[[Items], Awaitable[int]] = _nowhere
    is_on: bool = True
    revision: Callable[[], int] = lambda: -1


NO_CONTROL = Control(is_on=False)


class Controls:
    """The pauses, limits and resets of a subscription, applied.

    Takes: the pauses and the limit of its subscription, whenever they change; partitions as they are assigned.
    Gives: causes to stop to the PartitionQueues, limits to the Writer.
    Holds at most: the pauses of its subscription; one read of the control log, shared by the partitions that wait for it.
    """

    def __init__(
        self,
        control: Control,
        rate_max_per_s: float,
        pending: PendingQueue,
        writer: Writer,
        resets: Resets,
        clock: Clock,
        on_task_done: Callable[[asyncio.Task[None]], None],
        on_read: Callable[[PartitionQueue], None] = lambda _: None,
    ) -> None:
        """Begin with nothing stopped.

        Args:
            rate_max_per_s: as configured, a fleet total; 0: none.
            on_task_done: told how a read of the control log ended; it fails only by a bug.
            on_read: all that was decided until its assignment is known of a partition; nothing of it was delivered yet.
        """
        self._control = control
        self._configured_rate = rate_max_per_s
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
        self.pauses: Sequence[Pause] = ()
        self.limit: Limit | None = None

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
            await self._control.read_to_end()
            for queue in queues:
                if self._is_ours(queue.assignment, queue):
                    self._on_read(queue)
                    self._resets.admit(queue)
                    self._pending.resume_partition(queue, UNREAD)

    def _is_ours(self, assignment: Assignment, queue: PartitionQueue) -> bool:
        return self._pending.queues.get(assignment) is queue

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
        rate = self._configured_rate if limit is None or limit.rate_max_per_s is None else limit.rate_max_per_s
        self._writer.bucket.set_rate(rate * self._share if rate else None, self._clock.monotonic_s())
        self._writer.wake()

    def _now_ms(self) -> int:
        return int(self._clock.wall_s() * 1000)
