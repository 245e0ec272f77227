"""Calls of a handler, which may be a coroutine function or a plain function."""

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from mps_client.record import Record

Handler = Callable[[Record], Awaitable[None]] | Callable[[Record], None]
"""A function that processes a record. A normal end accepts the record; an exception is a verdict (`verdict_of`)."""


class Calls:
    """A context manager that calls a handler, in a thread if it is a plain function.

    Args:
        threads_max: the largest number of threads.
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
        """Cancel calls that have not begun. Calls in threads run to their end."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, record: Record) -> None:
        context = contextvars.copy_context()
        returned = await asyncio.get_running_loop().run_in_executor(self._pool, context.run, self._handler, record)
        if inspect.isawaitable(returned):
            await returned  # of a plain function that returns a coroutine

    async def settle(self, record: Record) -> None:
        """Call the handler, and settle the record by its result."""
        try:
            await self.call(record)
        except Exception as error:  # noqa: BLE001 - the boundary: any exception of a handler is a verdict
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
