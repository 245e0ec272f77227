"""A broker that owes an answer and says nothing."""

from collections import deque
from types import SimpleNamespace
from typing import Any

from mpsd.kafka.consumer import SilenceBound

FETCH, JOIN = 1, 11


class Connection:
    """Owes answers."""

    host, port = "broker", 9092

    def __init__(self, *api_keys: int) -> None:
        self._requests: Any = deque((n, SimpleNamespace(API_KEY=key), None) for n, key in enumerate(api_keys))
        self._reader: Any = SimpleNamespace(_buffer=bytearray())
        self._request_timeout = 0.0
        self.is_closed = False

    def close(self, reason: object) -> None:
        self.is_closed = True


class Client:
    """Has one connection."""

    _request_timeout_ms = 15_000

    def __init__(self, connection: Connection) -> None:
        self._conns = {1: connection}
        self.is_closed = False

    async def _get_conn(self, node: int) -> Connection | None:
        return self._conns.get(node)

    async def close(self) -> None:
        self.is_closed = True


async def look(connection: Connection, *times_s: float) -> bool:
    """Return True if the connection is closed after looks at these times."""
    client: Any = Client(connection)
    bound = SilenceBound(client, 3.0, 15.0)
    for now_s in times_s:
        bound.look(now_s)
    await client.close()
    return connection.is_closed


async def test_a_silent_broker_is_left_after_the_bound_and_not_before() -> None:
    assert not await look(Connection(FETCH), 10.0, 12.9)
    assert await look(Connection(FETCH), 10.0, 12.9, 13.0)


async def test_a_join_may_take_as_long_as_the_others_need() -> None:
    assert not await look(Connection(JOIN), 10.0, 20.0)


async def test_nothing_is_owed_by_a_connection_that_was_asked_nothing() -> None:
    assert not await look(Connection(), 10.0, 20.0)


async def test_an_answer_that_comes_slowly_is_no_silence() -> None:
    connection = Connection(FETCH)
    client: Any = Client(connection)
    bound = SilenceBound(client, 3.0, 15.0)
    for now_s in range(20):
        bound.look(float(now_s))
        connection._reader._buffer.extend(b"x" if now_s % 2 else b"")
    assert not connection.is_closed
    await client.close()


async def test_the_next_answer_has_its_own_time() -> None:
    connection = Connection(FETCH, FETCH)
    client: Any = Client(connection)
    bound = SilenceBound(client, 3.0, 15.0)
    bound.look(10.0)
    connection._requests.popleft()
    bound.look(13.0)
    assert not connection.is_closed
    bound.look(16.0)
    assert connection.is_closed
    await client.close()


async def test_connecting_is_bounded_shortly_and_a_join_as_before() -> None:
    client: Any = Client(Connection())
    close = client.close
    SilenceBound(client, 3.0, 15.0)
    assert client._request_timeout_ms == 3_000
    assert (await client._get_conn(1))._request_timeout == 15.0
    assert await client._get_conn(2) is None
    await client.close()
    assert client.is_closed
    assert close != client.close
