"""A subscription: the records of all daemons, for loops and workers."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from mps_client.errors import SubscriptionRefused
from mps_client.fleet import Fleet
from mps_client.handlers import Calls, Handler
from mps_client.inbox import Inbox
from mps_client.record import Record
from mps_client.settings import CREDIT_BYTES, Tls, Token, checked
from mps_client.statistics import Counters, Statistics
from mps_client.stream import CLOSE_TIMEOUT_S

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_logger = logging.getLogger("mps_client")


class Subscription(AsyncIterator[Record]):
    """The records of one subscription.

        async with Subscription("billing", "127.0.0.1:7072") as records:
            async for record in records:
                async with record:
                    ...

    The loop is one worker. Several tasks may loop over one subscription; `run` starts such tasks.

    At the end of the block the client returns the queued records, waits until the running ones are settled, and closes the
    streams, so that no record is delivered twice. After an exception it does not wait.

    Args:
        subscription: the name of the subscription in the daemon's configuration.
        addresses: the stream listeners of one or several daemons, `host:port`; the client finds the other daemons.
        concurrency: the number of workers that `run` starts, 1 to 1,000,000.
        credit: the largest number of unsettled records from each daemon, 1 to 1,000,000; None: twice the concurrency, so
            that no worker waits for the network.
        credit_bytes: the largest size of the unsettled records from each daemon, 0 to 4 GiB; 0: no limit.
        client: the name of this client that operators see; None: the name of the host.
        tls: True, or credentials from `grpc.ssl_channel_credentials`; None: no TLS.
        token: the bearer token, or a function that returns it, which is called before each stream; None: no token.
        drain_timeout_s: the time that handlers may take to end after `stop`; the default is below the 30 s of a pod.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        subscription: str,
        addresses: str | Sequence[str],
        *,
        concurrency: int = 64,
        credit: int | None = None,
        credit_bytes: int = CREDIT_BYTES,
        client: str | None = None,
        tls: Tls | None = None,
        token: Token | None = None,
        drain_timeout_s: float = 25.0,
    ) -> None:
        self._settings = checked(
            subscription,
            addresses,
            concurrency=concurrency,
            credit=credit,
            credit_bytes=credit_bytes,
            client=client,
            tls=tls,
            token=token,
            drain_timeout_s=drain_timeout_s,
        )
        self._name = self._settings.subscription
        self._inbox = Inbox()
        self._counters = Counters()
        self._fleet = Fleet(self._settings, self._inbox, self._counters)
        self._task: asyncio.Task[None] | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._stopped_s: float | None = None

    def __repr__(self) -> str:
        return f"<Subscription {self._settings.subscription} {self._inbox} {self._fleet}>"

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise RuntimeError("a Subscription is used once; make another")
        self._task = asyncio.create_task(self._fleet.run())
        self._task.add_done_callback(self._on_fleet_ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        self.stop()
        assert self._stopped_s is not None
        patience_s = CLOSE_TIMEOUT_S
        if error is None:
            patience_s += max(0.0, self._stopped_s + self._settings.drain_timeout_s - asyncio.get_running_loop().time())
        else:
            self._fleet.release()
        try:
            done, _ = await asyncio.wait([self._task], timeout=patience_s)
            if not done:
                message = "%s: %s did not close the stream within %.0f s; cutting it off"
                _logger.warning(message, self._name, self._fleet.open_addresses(), patience_s)
        finally:
            self._timer.cancel()
            self._task.cancel()  # has no effect on a task that is done
            await asyncio.gather(self._task, return_exceptions=True)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        """Return the next record; the iteration ends with `stop`.

        Raises:
            SubscriptionRefused: every daemon refuses, and no stream has ever opened.
        """
        record = await self._inbox.take()
        if record is None:
            if self._inbox.failure is not None:
                raise self._inbox.failure
            raise StopAsyncIteration
        return record

    def stop(self) -> None:
        """Deliver no more records, and end the loops. Records in progress can still be settled."""
        if self._stopped_s is not None:
            return
        loop = asyncio.get_running_loop()
        self._stopped_s = loop.time()
        self._inbox.close()
        self._fleet.leave()
        self._timer = loop.call_later(self._settings.drain_timeout_s, self._end_waiting)

    @contextmanager
    def stopped_by(self, *signals: signal.Signals) -> Iterator[None]:
        """Call `stop` on one of these signals within the block, by default on SIGTERM and SIGINT.

        A second signal cancels the workers of `run`. Use the method in the main thread only, as asyncio demands.
        """
        loop, signals = asyncio.get_running_loop(), signals or SIGNALS
        for each in signals:
            loop.add_signal_handler(each, self._on_signal)
        try:
            yield
        finally:
            for each in signals:
                loop.remove_signal_handler(each)

    async def run(self, handler: Handler, *, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        """Call the handler with every record, `concurrency` at a time, until `stop` or one of the signals.

        Args:
            handler: the function that processes a record; a plain function runs in threads.
            signals: the signals that stop the subscription; empty if other code handles signals, or in another thread.

        Raises:
            SubscriptionRefused: every daemon refuses, and no stream has ever opened.
        """
        with Calls(handler, self._settings.concurrency) as calls:
            async with self:
                if signals:
                    with self.stopped_by(*signals):
                        await self._work(calls)
                else:
                    await self._work(calls)
        if self._inbox.failure is not None:
            raise self._inbox.failure

    def statistics(self) -> Statistics:
        """Return the statistics of the subscription."""
        daemons, counters, queued = self._fleet.statistics(), self._counters, len(self._inbox)
        return Statistics(
            received=counters.received,
            acked=counters.acked,
            retried=counters.retried,
            dead_lettered=counters.dead_lettered,
            withdrawn=counters.withdrawn,
            unreported=counters.unreported,
            queued=queued,
            running=sum(daemon.unsettled for daemon in daemons) - queued,
            daemons=daemons,
        )

    async def _work(self, calls: Calls) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.concurrency):
                self._workers.append(group.create_task(self._one_worker(calls)))

    async def _one_worker(self, calls: Calls) -> None:
        take, settle = self._inbox.take, calls.settle
        while (record := await take()) is not None:
            await settle(record)

    def _end_waiting(self) -> None:
        """Return the records that have no verdict yet."""
        if running := self.statistics().running:
            message = "%s: records not settled within %g s: %d; giving them back, they are delivered again"
            _logger.warning(message, self._name, self._settings.drain_timeout_s, running)
        if self._workers:
            self._cancel_workers()
        else:
            self._fleet.release()

    def _on_signal(self) -> None:
        if self._stopped_s is None:
            _logger.info(
                "%s: stopping, as a signal asks; records that are still worked on: %d",
                self._name,
                self.statistics().running,
            )
            self.stop()
        else:
            self._cancel_workers()

    def _cancel_workers(self) -> None:
        for worker in self._workers:
            worker.cancel()

    def _on_fleet_ended(self, task: "asyncio.Task[None]") -> None:
        """Stop with the error of the task, because a fault of the library must be visible."""
        if not task.cancelled() and (error := task.exception()) is not None:
            failure = (
                error
                if isinstance(error, Exception)
                else RuntimeError(f"the streams failed: {type(error).__name__}: {error}")
            )
            self._inbox.close(failure)


def run(handler: Handler, subscription: str, addresses: str | Sequence[str], **options: Any) -> None:
    """Call the handler with every record until SIGTERM or SIGINT, as a whole program; see `Subscription`.

    Raises:
        SystemExit: every daemon refuses; the reason is printed, and the exit code is 1.
    """
    try:
        asyncio.run(Subscription(subscription, addresses, **options).run(handler))
    except SubscriptionRefused as error:
        raise SystemExit(str(error)) from None
