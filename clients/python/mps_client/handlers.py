"""A handler, of either kind, as something to await."""

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from mps_client.record import Record

Handler = Callable[[Record], Awaitable[None]] | Callable[[Record], None]
"""A normal end means processed; `Retry`, `DeadLetter` and other exceptions what they say."""


class Calls:
    """Calls a handler; one that is no coroutine function runs in a thread. Use it with `with`.

    Args:
        threads_max: that a handler which is no coroutine function may have.
    """

    def __init__(self, handler: Handler, threads_max: int) -> None:
        self._pool = None if is_async(handler) else ThreadPoolExecutor(threads_max, "mps_client")
        self.call: Callable[[Record], Awaitable[None]] = handler if self._pool is None else self._in_thread  # type: ignore[assignment]
        self._handler = handler

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more is called; what runs in a thread runs on."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, record: Record) -> None:
        context = contextvars.copy_context()
        said = await asyncio.get_running_loop().run_in_executor(self._pool, context.run, self._handler, record)
        if inspect.isawaitable(said):
            await said  # a plain function that returns a coroutine: not to wait for it would be to lose it

    async def settle(self, record: Record) -> None:
        """Call the handler, and settle the record by how it ends."""
        try:
            await self.call(record)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever a handler raises is a verdict
            record.reject(error)
        except BaseException:
            record.release()
            raise
        else:
            record.ack()


def is_async(handler: Handler) -> bool:
    """Return True if a call of the handler returns an awaitable; also for objects with `__call__` and for partial objects."""
    handler = inspect.unwrap(getattr(handler, "func", handler))
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004
