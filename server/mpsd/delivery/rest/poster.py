"""The part that both REST adapters share: one endpoint, its credentials, and the pool of connections to it."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mpsd.config import ClientTls, RestDelivery
from mpsd.core.delivery import Assignment
from mpsd.core.idempotency import IdempotencyKeys
from mpsd.core.outcome import Delivered, Outcome, Withdrawn
from mpsd.core.retry_after import CHARACTERS_MAX, UNREADABLE_S, is_readable
from mpsd.delivery.rest.answer import AnswerRules, Judge, judge, printable
from mpsd.delivery.rest.client.answer_reader import Answer
from mpsd.delivery.rest.client.connection import Connection, Item, Result
from mpsd.delivery.rest.client.connector import EndpointConnector, LookUp, look_up
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.client.pool import Pool, Requests
from mpsd.errors import ConfigError, Problem
from mpsd.ports import AdapterStatistics, Peer

log = logging.getLogger("mpsd.delivery")

REFUSALS = frozenset({401, 403, 407})
"""Statuses by which an application, or a gateway before it, may refuse credentials."""
NOT_SENT = Withdrawn(reason="not sent yet when its partition was revoked")
SENT_WITH_OLD_CREDENTIALS = Withdrawn(reason="refused with credentials that have been replaced since")
"""Outcome of a request that was refused for credentials replaced since it was written.

The refusal says nothing about the record or the endpoint: it costs no attempt and does not count towards an outage. The
record is sent once more with the new credentials.
"""
Made = TypeVar("Made")
Item_contra = TypeVar("Item_contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The functions of the daemon that an adapter calls; tests and tools give others.

    Attributes:
        wall_s: returns seconds since the epoch, for signatures and dates.
        look_up: returns the addresses of the URL's host.
        may_start: returns True if a delivery may start now; asked for deliveries that waited for a connection.
        look_again: asks for `renew` if the secrets have changed; called after a request was refused for its credentials.
        judge: returns the meaning of an answer; not called for bytes that came to DELIVERED before.
    """

    wall_s: Callable[[], float] = time.time
    look_up: LookUp = look_up
    may_start: Callable[[], bool] = lambda: True
    look_again: Callable[[], None] = lambda: None
    judge: Judge = judge


class Writer(Protocol[Item_contra]):
    """A writer of requests to one endpoint.

    Attributes:
        keys: the ids of records.
    """

    keys: IdempotencyKeys

    def head(self, item: Item_contra, /) -> bytes:
        """Return request line and headers with the empty line at their end."""


class Poster(Generic[Item, Result]):
    """The base of both adapters: one endpoint, and the pool of connections to it once they have started.

    Args:
        write: makes a writer of subscription, delivery, endpoint and wall clock.

    Attributes:
        writer: of the requests; replaced by `renew`.
        rules: meaning of answers.

    Raises:
        ConfigError: the URL, a webhook secret, or a file of the TLS settings cannot be used.
    """

    def __init__(
        self,
        subscription: str,
        delivery: RestDelivery,
        write: Callable[[str, RestDelivery, Endpoint, Callable[[], float]], Writer[Item]],
        around: Surroundings,
    ) -> None:
        self._subscription = subscription
        self._delivery = delivery
        self._write = write
        self._around = around
        self.writer, self._connector = self._made(
            delivery, lambda endpoint, tls: EndpointConnector(endpoint, tls, around.look_up)
        )
        self.rules = AnswerRules.of(delivery)
        self._pool: Pool[Item, Result] | None = None
        self._is_closed = False
        self._has_logged_retry_after = False

    def _start(self, requests: Requests[Item, Result], answer_bytes: int = 0) -> Callable[[Sequence[Item]], None]:
        """Make the pool and return its `deliver`; opens no connection, so that a dead endpoint does not hinder the start."""
        self._pool = Pool(self._delivery, self._connector, requests, self._around.may_start, answer_bytes)
        return self._pool.deliver

    def renew(self, delivery: RestDelivery) -> None:
        """Use other credentials, headers, certificates and another URL, from the next request on.

        Raises:
            ConfigError: like the constructor; then nothing has changed.
        """
        self.writer, is_other_way = self._made(delivery, self._connector.renew)
        if self._pool is not None:
            self._pool.renew(self.writer.head, replace_connections=is_other_way)

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        """See `DeliveryAdapter`; unsent records are withdrawn at once. Cancelled, it leaves the rest in flight."""
        if self._pool is not None:
            await self._pool.drain(assignment, deadline_s)

    async def close(self, deadline_s: float) -> None:
        """See `DeliveryAdapter`."""
        self._is_closed = True
        if self._pool is not None:
            await self._pool.drain(None, deadline_s)
            await self._pool.close()
        await self._connector.close()

    def on_peers(self, peers: Sequence[Peer]) -> None:
        """Ignore the peers, because the application calls none of them."""

    def _statistics(self, **numbers: float) -> AdapterStatistics:
        """Return these numbers of an adapter and those of its connections."""
        pool = self._pool.statistics() if self._pool is not None else {}
        numbers |= {"addresses": self._connector.addresses, **pool}
        return AdapterStatistics(numbers, self.writer.keys.fallbacks())

    def judge(self, answer: Answer, connection: Connection[Item, Result]) -> Outcome:
        """Return the meaning of an answer to the request on its connection."""
        if answer.status in REFUSALS:
            self._around.look_again()
            if connection.is_outdated:
                return SENT_WITH_OLD_CREDENTIALS
        now_s = self._around.wall_s()
        outcome = self._around.judge(answer, self.rules, now_s)
        if answer.retry_after and not isinstance(outcome, Delivered):
            self._check_retry_after(answer, now_s)
        return outcome

    def _check_retry_after(self, answer: Answer, now_s: float) -> None:
        """Log the first `Retry-After` that cannot be read."""
        text = answer.retry_after.decode("latin-1")
        if self._has_logged_retry_after or is_readable(text, now_s):
            return
        self._has_logged_retry_after = True
        log.warning(
            'cannot read Retry-After of an answer %d: "%s" is neither seconds nor a date; waiting %g s or longer each time',
            answer.status,
            printable(text[:CHARACTERS_MAX]),
            UNREADABLE_S,
            extra={"code": "delivery.retry_after_unreadable", "subscription": self._subscription},
        )

    def _made(
        self, delivery: RestDelivery, use: Callable[[Endpoint, ClientTls | None], Made]
    ) -> tuple[Writer[Item], Made]:
        """Return a writer for the delivery, and the result of `use`, which is called last.

        Raises:
            ConfigError: the URL, a webhook secret, or a file of the TLS settings cannot be used.
        """
        key = "url"
        try:
            endpoint = Endpoint.of(delivery.url)
            key = "webhook_secrets"
            writer = self._write(self._subscription, delivery, endpoint, self._around.wall_s)
            key = "tls"
            return writer, use(endpoint, delivery.tls)
        except (OSError, ValueError) as error:  # the message has no value, because it may be a secret
            problem = Problem(
                path=f"subscriptions.delivery.{key}",
                message=f"cannot be used: {error}",
                subscription=self._subscription,
            )
            raise ConfigError([problem]) from error
