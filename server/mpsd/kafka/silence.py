"""A bound on the silence of brokers: a connection that owes an answer and brings nothing is closed, and made again.

The library waits for each answer as long as a JoinGroup may take. A broker that is frozen, or that was lost without a
word, would hold up everything that is asked over its connection for that long, also after it is back.
"""

import asyncio
import logging
from typing import Any

from aiokafka.conn import CloseReason

log = logging.getLogger("mpsd.group")

LOOK_INTERVAL_S = 0.5
WAITED_FOR = {11, 14}
"""JoinGroup and SyncGroup, which the broker answers when other members have come."""


class SilenceBound:
    """Watches the connections of one client until the client is closed.

    An answer that arrives slowly is not silence: what counts is whether any of its bytes came.
    """

    def __init__(self, client: Any, silence_max_s: float, join_max_s: float) -> None:
        """Begin to watch; called in the loop's thread, before the client connects.

        Args:
            client: the library's.
            join_max_s: how long the answer to a JoinGroup may take.
        """
        self._client = client
        self._silence_max_s = silence_max_s
        self._join_max_s = join_max_s
        self._heard: dict[Any, tuple[tuple[int | None, int], float]] = {}
        self._loop = asyncio.get_running_loop()
        client._request_timeout_ms = int(silence_max_s * 1000)  # of connecting
        self._connect, client._get_conn = client._get_conn, self._get_conn
        self._close, client.close = client.close, self._end
        self._next = self._loop.call_later(LOOK_INTERVAL_S, self._look_on)

    async def _get_conn(self, *args: Any, **options: Any) -> Any:
        connection = await self._connect(*args, **options)
        if connection is not None:
            connection._request_timeout = self._join_max_s
        return connection

    async def _end(self) -> None:
        self._next.cancel()
        await self._close()

    def _look_on(self) -> None:
        self.look(self._loop.time())
        self._next = self._loop.call_later(LOOK_INTERVAL_S, self._look_on)

    def look(self, now_s: float) -> None:
        """Close the connections whose broker has been silent for too long."""
        heard, self._heard = self._heard, {}
        for connection in list(self._client._conns.values()):
            if not connection._requests or connection._reader is None:
                continue
            correlation_id, request, _ = connection._requests[0]
            sign = correlation_id, len(connection._reader._buffer)
            last_sign, since_s = heard.get(connection, (sign, now_s))
            since_s = since_s if last_sign == sign else now_s
            if now_s - since_s < self._silence_max_s or (request is not None and request.API_KEY in WAITED_FOR):
                self._heard[connection] = sign, since_s
                continue
            log.warning(
                "broker %s:%d is silent: it owes an answer, and nothing came for %.1f s; connecting again",
                connection.host,
                connection.port,
                now_s - since_s,
                extra={"code": "kafka.silent"},
            )
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
