"""The delivery port over HTTP/1.1."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Outcome, Withdrawn
from mpsd.core.status_table import StatusTable
from mpsd.delivery.rest.answer import Answer, AnswerRules, judge
from mpsd.delivery.rest.answer_reader import AnswerBounds
from mpsd.delivery.rest.connector import EndpointConnector, LookUp, look_up
from mpsd.delivery.rest.pool import Pool
from mpsd.delivery.rest.pool_limits import PoolLimits
from mpsd.delivery.rest.request import RequestHeads
from mpsd.delivery.rest.settings import Endpoint, RestSettings
from mpsd.errors import ConfigError, Problem
from mpsd.ports import Demand, Peer

DEMAND_BYTES = 1 << 40
"""Values are not copied before they are sent, so that connections are the only bound."""


@dataclass(slots=True)
class _Drain:
    """Somebody waits until nothing of an assignment (None: of any) is in flight; `left` is counted down."""

    assignment: Assignment | None
    left: int
    done: asyncio.Future[None]


class RestAdapter:
    """Posts each record to one URL.

    Takes: deliveries, as many as it has connections that are free or may be opened.
    Gives: one outcome for each.
    Holds at most: `concurrency_max` deliveries.

    Args:
        wall_s: seconds since the epoch, for signatures and dates.
        look_up: where the addresses of the URL's host come from.
        may_start: whether a delivery may start now; asked for those that waited for a connection, as time may have passed.

    Raises:
        ConfigError: the URL, a webhook secret, or a file of the TLS settings cannot be used.
    """

    def __init__(
        self,
        settings: RestSettings,
        *,
        wall_s: Callable[[], float] = time.time,
        look_up: LookUp = look_up,
        may_start: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        self._may_start = may_start
        self._wall_s = wall_s
        key = "url"
        try:
            endpoint = Endpoint.of(settings.url)
            key = "webhook_secrets"
            self._heads = RequestHeads(settings, endpoint, wall_s)
            key = "tls"
            self._connector = EndpointConnector(endpoint, settings.tls, look_up)
        except (OSError, ValueError) as error:
            raise ConfigError([_problem(settings, key, error)]) from error
        self._rules = AnswerRules(
            statuses=StatusTable(settings.status),
            retry_after_max_s=settings.retry_after_max_s,
        )
        self._pool: Pool | None = None
        self._free = settings.concurrency_max
        self._is_closed = False
        self._drains: list[_Drain] = []

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        """Connections are opened when deliveries need them, so that a dead endpoint does not hinder the start."""
        settings = self._settings
        self._on_demand = on_demand
        self._settle = settle
        limits = PoolLimits(
            connections_max=settings.concurrency_max,
            head_bytes_max=settings.request_header_bytes_max,
            bounds=AnswerBounds(
                header_bytes_max=settings.response_header_bytes_max,
                body_bytes_max=settings.response_body_bytes_max,
            ),
            timeout_s=settings.timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
            age_max_s=settings.connection_age_max_s,
            idle_max_s=settings.connection_idle_max_s,
        )
        self._pool = Pool(self._connector, limits, self._heads.head, self._judge, self._ended, self._may_start)

    def demand(self) -> Demand:
        return Demand(0 if self._is_closed else self._free, DEMAND_BYTES)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """See `DeliveryAdapter`."""
        assert self._pool is not None
        assert not self._is_closed
        assert len(batch) <= self._free
        self._free -= len(batch)
        self._pool.deliver(batch)

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        """See `DeliveryAdapter`; what was not sent yet is withdrawn at once. Cancelled, it leaves the rest in flight."""
        if self._pool is not None:
            await self._drain(self._pool, assignment, deadline_s)

    async def close(self, deadline_s: float) -> None:
        """See `DeliveryAdapter`."""
        self._is_closed = True
        if self._pool is not None:
            await self._drain(self._pool, None, deadline_s)
            await self._pool.close()
        await self._connector.close()

    def on_peers(self, peers: Sequence[Peer]) -> None:
        """See `DeliveryAdapter`; one who is called by us has no need of it."""

    def statistics(self) -> Mapping[str, int | float | str]:
        if self._pool is None:
            return {"free": self._free}
        return {"free": self._free, "addresses": self._connector.addresses, **self._pool.statistics()}

    def _judge(self, answer: Answer) -> Outcome:
        return judge(answer, self._rules, self._wall_s())

    def _ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """The one place where deliveries are settled."""
        was_full = self._free == 0
        self._free += 1
        self._settle(delivery, outcome)
        if self._drains:
            self._count_down(delivery)
        if was_full and self._free:
            self._on_demand()

    async def _drain(self, pool: Pool, assignment: Assignment | None, deadline_s: float) -> None:
        with pool.draining(assignment):
            for delivery in pool.withdraw(assignment):
                self._ended(delivery, Withdrawn(reason="not sent yet when its partition was revoked"))
            try:
                async with asyncio.timeout(deadline_s):
                    await self._drained(pool, assignment)
            except TimeoutError:
                pool.abort(assignment, Withdrawn(reason=f"aborted {deadline_s} s after its partition was revoked"))
                await self._drained(pool, assignment)

    async def _drained(self, pool: Pool, assignment: Assignment | None) -> None:
        while left := len(pool.in_flight(assignment)):
            drain = _Drain(assignment, left, asyncio.get_running_loop().create_future())
            self._drains.append(drain)
            try:
                await drain.done
            finally:
                self._drains.remove(drain)

    def _count_down(self, delivery: Delivery) -> None:
        for drain in self._drains:
            if drain.assignment is None or drain.assignment is delivery.assignment:
                drain.left -= 1
                if drain.left == 0 and not drain.done.done():
                    drain.done.set_result(None)


def _problem(settings: RestSettings, key: str, error: Exception) -> Problem:
    """Never the value itself, which may be a secret."""
    message = f"cannot be used: {error}"
    return Problem(path=f"subscriptions.delivery.{key}", message=message, subscription=settings.subscription)
