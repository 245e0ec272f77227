"""The delivery port over HTTP/1.1, one record in each request."""

import time
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Never, TypeVar

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Delivered, Outcome, Withdrawn
from mpsd.delivery.rest.answer import Answer, AnswerRules, Judge, judge
from mpsd.delivery.rest.connection import Connection
from mpsd.delivery.rest.connector import EndpointConnector, LookUp, look_up
from mpsd.delivery.rest.credentials import REFUSALS, SENT_WITH_OLD_CREDENTIALS
from mpsd.delivery.rest.endpoint_pool import EndpointPool
from mpsd.delivery.rest.pool_limits import Requests
from mpsd.delivery.rest.request import RequestHeads
from mpsd.delivery.rest.settings import Endpoint, RestSettings
from mpsd.delivery.rest.strange_retry_after import StrangeRetryAfter
from mpsd.errors import ConfigError, Problem
from mpsd.ports import Demand, Peer

DEMAND_BYTES = 1 << 40
"""Values are not copied before they are sent, so that connections are the only bound."""
Writer = TypeVar("Writer")
NOT_SENT = Withdrawn(reason="not sent yet when its partition was revoked")


class RestAdapter:
    """Posts each record to one URL.

    Takes: deliveries, as many as it has connections that are free or may be opened.
    Gives: one outcome for each.
    Holds at most: `concurrency_max` deliveries.

    Args:
        wall_s: seconds since the epoch, for signatures and dates.
        look_up: where the addresses of the URL's host come from.
        may_start: whether a delivery may start now; asked for those that waited for a connection, as time may have passed.
        look_again: asks for `renew` where the secrets have changed; called when a request was refused for its credentials.
        judge: what answers mean; those whose bytes came to DELIVERED before are not asked about again.

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
        look_again: Callable[[], None] = lambda: None,
        judge: Judge = judge,
    ) -> None:
        self._settings = settings
        self._look_again = look_again
        self._may_start = may_start
        self._wall_s = wall_s
        self._judge_answer = judge
        self._heads, self._connector = reached(settings, wall_s, look_up, RequestHeads)
        self._rules = AnswerRules.of(settings)
        self._strange = StrangeRetryAfter(settings.subscription)
        self._endpoint: EndpointPool[Delivery, Never] | None = None
        self._free = settings.concurrency_max
        self._is_closed = False

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        """Connections are opened when deliveries need them, so that a dead endpoint does not hinder the start."""
        self._on_demand = on_demand
        self._settle = settle
        self._endpoint = EndpointPool(
            self._settings,
            self._connector,
            Requests(
                head=self._heads.head,
                body=attrgetter("record.value"),
                concerns=lambda delivery, assignment: delivery.assignment is assignment,
            ),
            self._judge,
            self._ended,
            lambda delivery, _: self._ended(delivery, NOT_SENT),
            self._may_start,
        )
        self._drains, self._deliver = self._endpoint.drains, self._endpoint.pool.deliver

    def demand(self) -> Demand:
        return Demand(0 if self._is_closed else self._free, DEMAND_BYTES)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """See `DeliveryAdapter`."""
        assert not self._is_closed
        assert len(batch) <= self._free
        self._free -= len(batch)
        self._deliver(batch)

    def renew(self, settings: RestSettings) -> None:
        """Use other credentials, headers, certificates and another URL, from the next request on.

        Raises:
            ConfigError: as the constructor; then nothing has changed.
        """
        self._heads, is_other_way = renewed(settings, self._wall_s, RequestHeads, self._connector)
        if self._endpoint is not None:
            self._endpoint.pool.renew(self._heads.head, replace_connections=is_other_way)

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        """See `DeliveryAdapter`; what was not sent yet is withdrawn at once. Cancelled, it leaves the rest in flight."""
        if self._endpoint is not None:
            await self._endpoint.drain(assignment, deadline_s)

    async def close(self, deadline_s: float) -> None:
        """See `DeliveryAdapter`."""
        self._is_closed = True
        if self._endpoint is not None:
            await self._endpoint.drain(None, deadline_s)
            await self._endpoint.pool.close()
        await self._connector.close()

    def on_peers(self, peers: Sequence[Peer]) -> None:
        """See `DeliveryAdapter`; one who is called by us has no need of it."""

    def statistics(self) -> Mapping[str, int | float | str]:
        own = {"free": self._free, **self._heads.keys.statistics()}
        if self._endpoint is None:
            return own
        return {**own, "addresses": self._connector.addresses, **self._endpoint.pool.statistics()}

    def _judge(self, answer: Answer, connection: Connection[Delivery, Never]) -> Outcome:
        if answer.status in REFUSALS:
            self._look_again()
            if connection.is_outdated:
                return SENT_WITH_OLD_CREDENTIALS
        now_s = self._wall_s()
        outcome = self._judge_answer(answer, self._rules, now_s)
        if answer.retry_after and not isinstance(outcome, Delivered):
            self._strange.look(answer, now_s)
        return outcome

    def _ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """The one place where deliveries are settled."""
        was_full = self._free == 0
        self._free += 1
        self._settle(delivery, outcome)
        if self._drains and self._endpoint is not None:
            self._endpoint.ended(delivery)
        if was_full and self._free:
            self._on_demand()


def reached(
    settings: RestSettings,
    wall_s: Callable[[], float],
    look_up: LookUp,
    writer: Callable[[RestSettings, Endpoint, Callable[[], float]], Writer],
) -> tuple[Writer, EndpointConnector]:
    """Whoever writes the requests to the endpoint of the settings, and the way there.

    Raises:
        ConfigError: the URL, a webhook secret, or a file of the TLS settings cannot be used.
    """
    key = "url"
    try:
        endpoint = Endpoint.of(settings.url)
        key = "webhook_secrets"
        written = writer(settings, endpoint, wall_s)
        key = "tls"
        return written, EndpointConnector(endpoint, settings.tls, look_up)
    except (OSError, ValueError) as error:
        raise ConfigError([_problem(settings, key, error)]) from error


def renewed(
    settings: RestSettings,
    wall_s: Callable[[], float],
    writer: Callable[[RestSettings, Endpoint, Callable[[], float]], Writer],
    connector: EndpointConnector,
) -> tuple[Writer, bool]:
    """Return who writes requests by the new settings, and whether the connector leads another way than before.

    Raises:
        ConfigError: as `reached`; then the connector is as it was.
    """
    key = "url"
    try:
        endpoint = Endpoint.of(settings.url)
        key = "webhook_secrets"
        written = writer(settings, endpoint, wall_s)
        key = "tls"
        return written, connector.renew(endpoint, settings.tls)
    except (OSError, ValueError) as error:
        raise ConfigError([_problem(settings, key, error)]) from error


def _problem(settings: RestSettings, key: str, error: Exception) -> Problem:
    """Never the value itself, which may be a secret."""
    message = f"cannot be used: {error}"
    return Problem(path=f"subscriptions.delivery.{key}", message=message, subscription=settings.subscription)
