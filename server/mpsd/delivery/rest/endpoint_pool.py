"""From settings to a pool of connections to their endpoint, and how what is in flight there ends in time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from mpsd.core.delivery import Assignment
from mpsd.core.outcome import EXCERPT_BYTES_MAX, Outcome, Withdrawn
from mpsd.delivery.rest.answer import Answer
from mpsd.delivery.rest.answer_reader import AnswerBounds
from mpsd.delivery.rest.connection import Connection, Item, Result
from mpsd.delivery.rest.connector import Connector
from mpsd.delivery.rest.pool import Pool
from mpsd.delivery.rest.pool_limits import PoolLimits, Requests
from mpsd.delivery.rest.settings import RestSettings


@dataclass(slots=True)
class _Drain:
    """Somebody waits until nothing of an assignment (None: of any) is in flight; `left` is counted down."""

    assignment: Assignment | None
    left: int
    done: asyncio.Future[None]


class EndpointPool(Generic[Item, Result]):
    """A pool that can be drained.

    Args:
        connector: the way to the endpoint.
        requests: how an item becomes a request.
        judge: see `Pool`.
        ended: see `Pool`; whoever is told says so to `ended` here while there are `drains`.
        withdrawn: takes back an item that was not sent yet, for the assignment that is drained (None: for all).
        may_start: see `Pool`.
        answer_bytes: bytes in an answer's body that name records, beside those of the settings; a body that may have some
            is kept whole.
    """

    def __init__(
        self,
        settings: RestSettings,
        connector: Connector,
        requests: Requests[Item],
        judge: Callable[[Answer, Connection[Item, Result]], Outcome | Result],
        ended: Callable[[Item, Outcome | Result], None],
        withdrawn: Callable[[Item, Assignment | None], None],
        may_start: Callable[[], bool],
        answer_bytes: int = 0,
    ) -> None:
        body_bytes_max = settings.response_body_bytes_max + answer_bytes
        limits = PoolLimits(
            connections_max=settings.concurrency_max,
            head_bytes_max=settings.request_header_bytes_max,
            bounds=AnswerBounds(
                header_bytes_max=settings.response_header_bytes_max,
                body_bytes_max=body_bytes_max,
                kept_bytes_max=body_bytes_max if answer_bytes else EXCERPT_BYTES_MAX,
            ),
            timeout_s=settings.timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
            age_max_s=settings.connection_age_max_s,
            idle_max_s=settings.connection_idle_max_s,
        )
        self._concerns = requests.concerns
        self._withdrawn = withdrawn
        self.pool: Pool[Item, Result] = Pool(connector, limits, requests, judge, ended, may_start)
        self.drains: list[_Drain] = []

    def ended(self, item: Item) -> None:
        """To be told of each item that ended while there are `drains`."""
        for drain in self.drains:
            if drain.assignment is None or self._concerns(item, drain.assignment):
                drain.left -= 1
                if drain.left == 0 and not drain.done.done():
                    drain.done.set_result(None)

    async def drain(self, assignment: Assignment | None, deadline_s: float) -> None:
        """See `DeliveryAdapter.revoke`; None for all assignments. Cancelled, it leaves the rest in flight."""
        pool = self.pool
        with pool.draining(assignment):
            for item in pool.withdraw(assignment):
                self._withdrawn(item, assignment)
            try:
                async with asyncio.timeout(deadline_s):
                    await self._drained(assignment)
            except TimeoutError:
                pool.abort(assignment, Withdrawn(reason=f"aborted {deadline_s} s after its partition was revoked"))
                await self._drained(assignment)

    async def _drained(self, assignment: Assignment | None) -> None:
        while left := len(self.pool.in_flight(assignment)):
            drain = _Drain(assignment, left, asyncio.get_running_loop().create_future())
            self.drains.append(drain)
            try:
                await drain.done
            finally:
                self.drains.remove(drain)
