"""The order in which addresses are tried, and the fallback when a name cannot be resolved."""

import asyncio
import socket
from collections.abc import Iterator, Sequence

import pytest
from typing_extensions import override

from mpsd.config import ClientTls
from mpsd.delivery.rest.client.connector import ConnectFailed, EndpointConnector, look_up
from mpsd.delivery.rest.client.endpoint import Endpoint


class Names:
    """A resolver that says what it is told, and counts."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Quiet(asyncio.Protocol):
    """Notes where it was connected to."""

    def __init__(self, connected: list[str]) -> None:
        self._connected = connected

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connected.append(transport.get_extra_info("peername")[0])
        transport.close()


@pytest.fixture
def port() -> Iterator[int]:
    """Yield a port that listens on 127.0.0.1 only."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def connector(names: Names, port: int, *, resolve_interval_s: float = 5.0) -> EndpointConnector:
    return EndpointConnector(Endpoint.of(f"http://billing:{port}/"), ClientTls(), names, resolve_interval_s)


async def connected(to: EndpointConnector, times: int = 1) -> list[str]:
    seen: list[str] = []
    for _ in range(times):
        await to.connect(lambda: Quiet(seen), 5.0)
    await asyncio.sleep(0)
    return seen


async def test_recent_addresses_are_not_asked_for_again(port: int) -> None:
    names = Names(["127.0.0.1"])
    to = connector(names, port)
    await connected(to, 3)
    assert names.asked == 1


async def test_new_addresses_are_seen(port: int) -> None:
    names = Names(["127.0.0.9"], ["127.0.0.1"])
    to = connector(names, port, resolve_interval_s=0.0)
    with pytest.raises(ConnectFailed) as caught:
        await connected(to)
    assert caught.value.outcome.code == "refused"
    assert await connected(to) == ["127.0.0.1"]


async def test_old_addresses_serve_while_the_name_cannot_be_resolved(port: int) -> None:
    names = Names(["127.0.0.1"], socket.gaierror("try again"))
    to = connector(names, port, resolve_interval_s=0.0)
    assert await connected(to, 3) == ["127.0.0.1"] * 3
    assert names.asked == 3


async def test_a_name_without_addresses_is_unresolved(port: int) -> None:
    with pytest.raises(ConnectFailed) as caught:
        await connected(connector(Names([]), port))
    assert caught.value.outcome.code == "unresolved"


async def test_all_who_wait_are_served_by_one_question(port: int) -> None:
    names = Names(["127.0.0.1"])
    to = connector(names, port)
    await asyncio.gather(*(connected(to) for _ in range(10)))
    assert names.asked == 1


async def test_closing_ends_a_question_that_nobody_answered(port: int) -> None:
    async def silence(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    to = EndpointConnector(Endpoint.of(f"http://billing:{port}/"), ClientTls(), silence)
    with pytest.raises(ConnectFailed) as caught:
        await to.connect(lambda: Quiet([]), 0.01)
    assert caught.value.outcome.code == "unresolved"
    await to.close()


async def test_the_system_gives_each_address_once() -> None:
    assert await look_up("127.0.0.1", 80) == ["127.0.0.1"]
