"""The REST adapter and an application that speaks HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from typing_extensions import override

from mpsd.delivery.rest import RestAdapter
from mpsd.ports import DeliveryAdapter
from tests.conformance.harness import AdapterHarness, Reaction, Received
from tests.conformance.http_server import HttpServer, Peer, Request
from tests.fakes.rest_delivery import rest_delivery


class RestHarness(AdapterHarness):
    def __init__(self) -> None:
        super().__init__()
        self.server = HttpServer(self.serve)
        self._released = asyncio.Event()

    @override
    async def start(self, *, concurrency_max: int, timeout_s: float) -> DeliveryAdapter:
        port = await self.server.start()
        url = f"http://127.0.0.1:{port}/orders"
        return RestAdapter("billing", rest_delivery(url, concurrency_max=concurrency_max, timeout_s=timeout_s))

    @override
    def release(self) -> None:
        self._released.set()

    @override
    async def stop(self) -> None:
        await self.server.stop()

    async def serve(self, peer: Peer) -> None:
        react = REACTIONS
        while True:
            self.came(_received(await peer.request()))
            try:
                if self.reaction is Reaction.HANG:
                    await self.hang(peer)
                else:
                    await react[self.reaction](peer)
            finally:
                self.went()

    async def hang(self, peer: Peer) -> None:
        """Until released, or until the other side gives up."""
        released = asyncio.ensure_future(self._released.wait())
        gone = asyncio.ensure_future(peer.gone())
        done, others = await asyncio.wait({released, gone}, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if gone in done:
            raise EOFError
        await peer.answer(200)


async def _go_away(peer: Peer) -> NoReturn:
    peer.reset()
    raise EOFError


async def _talk_nonsense(peer: Peer) -> NoReturn:
    await peer.send(b"* OK IMAP4 ready\r\n")
    await peer.gone()
    raise EOFError


REACTIONS: dict[Reaction, Callable[[Peer], Awaitable[None]]] = {
    Reaction.ACCEPT: lambda peer: peer.answer(200),
    Reaction.ASK_TO_RETRY: lambda peer: peer.answer(500, body=b"try again"),
    Reaction.REJECT: lambda peer: peer.answer(422, body=b"never"),
    Reaction.ASK_FOR_LESS: lambda peer: peer.answer(429, "Retry-After: 2"),
    Reaction.SAY_UNAVAILABLE: lambda peer: peer.answer(404),
    Reaction.GO_AWAY: _go_away,
    Reaction.TALK_NONSENSE: _talk_nonsense,
}


def _received(request: Request) -> Received:
    key = request.header("mps-key")
    return Received(
        topic=request.header("mps-topic") or "",
        partition=int(request.header("mps-partition") or -1),
        offset=int(request.header("mps-offset") or -1),
        key=None if key is None else unquote_to_bytes(key),
        value=None if request.header("mps-tombstone") == "true" else request.body,
        attempt=int(request.header("mps-attempt") or -1),
        epoch=int(request.header("mps-epoch") or -1),
    )
