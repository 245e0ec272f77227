"""The pull adapter behind its endpoints, and an application that comes and asks."""

import asyncio
from base64 import b64decode
from contextlib import AsyncExitStack, suppress
from typing import Any

from starlette.applications import Starlette
from typing_extensions import override

from mpsd.config import PullDelivery
from mpsd.delivery.pull import PullAdapter
from mpsd.delivery.pull.peer_request import PeerClient
from mpsd.delivery.pull.routes import PullApi
from mpsd.listeners.address import address_of, bind
from mpsd.listeners.http import serving_http
from mpsd.ports import DeliveryAdapter, Peer
from tests.conformance.harness import LeasingHarness, Reaction, Received
from tests.conformance.http_client import Answer, Caller

CALLERS = 4
"""So that one waits while another is on its way with what it was given."""
LOOK_S = 0.01
VERDICTS = {
    Reaction.ACCEPT: "ack",
    Reaction.ASK_TO_RETRY: "retry",
    Reaction.REJECT: "dead-letter",
    Reaction.HANG: "ack",
}


class PullHarness(LeasingHarness):
    reactions = frozenset(VERDICTS)

    def __init__(self) -> None:
        super().__init__()
        self._released = asyncio.Event()
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._hanging: list[dict[str, Any]] = []
        self._over: list[dict[str, Any]] = []

    @override
    async def start(self, *, concurrency_max: int, timeout_s: float) -> PullAdapter:
        listener = bind("http", "127.0.0.1:0")
        self._address = address_of(listener)
        self._adapter = PullAdapter(
            "billing",
            PullDelivery(
                protocol="pull",
                concurrency_max=concurrency_max,
                lease_s=timeout_s,
                lease_total_max_s=self.lease_total_max_s,
            ),
            Peer("", self._address, "", "here"),
        )
        api = PullApi({"billing": self._adapter}, (), PeerClient(None, 1 << 20), body_bytes_max=1 << 20)
        await self._stack.enter_async_context(serving_http(Starlette(routes=api.routes()), listener))
        return self._adapter

    @override
    async def ready(self, adapter: DeliveryAdapter) -> None:
        for _ in range(CALLERS):
            self._spawn(self._poll())
        while self._adapter.waiters < CALLERS:  # noqa: ASYNC110 - nobody tells of them
            await asyncio.sleep(0)

    @override
    async def extend(self, lease_s: float) -> None:
        async with Caller(self._address) as caller:
            held = [[record["delivery_id"] for record in lease["records"]] for lease in self._hanging]
            for lease, ids in zip(list(self._hanging), held, strict=True):
                if not ids:
                    continue  # it is over, and about to be forgotten
                answer = await caller.post(lease["extend_url"], {"delivery_ids": ids, "lease_s": lease_s})
                self._note(answer)

    @override
    async def settle_late(self) -> None:
        async with Caller(self._address) as caller:
            for lease in self._over:
                self._note(await caller.post(lease["settle_url"], _settlements(lease, "ack")))

    @override
    def release(self) -> None:
        self._released.set()

    @override
    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def _spawn(self, work: Any) -> None:
        self._tasks.add(task := asyncio.ensure_future(work))
        task.add_done_callback(self._tasks.discard)

    async def _poll(self) -> None:
        async with Caller(self._address) as caller:
            while True:
                answer = await caller.post("/v1/subscriptions/billing/leases", {"records_max": 1000})
                if answer.status != 200:
                    self.drained = True
                    self.watch.changed()
                    return
                lease = answer.json()
                if hangs := self.reaction is Reaction.HANG:
                    self._hanging.append(lease)
                for record in lease["records"]:
                    self.came(_received(record))
                if hangs:
                    self._spawn(self._hang(lease))
                elif lease["records"]:
                    await self._settle(caller, lease)

    async def _hang(self, lease: dict[str, Any]) -> None:
        """Until released, or until all of it is over, which a real one would know by its clock or when it settles."""
        while lease["records"] and not self._released.is_set():
            for record in list(lease["records"]):
                if self._adapter._leases.find(lease["lease_id"], record["delivery_id"]) is None:
                    lease["records"].remove(record)
                    self._over.append({**lease, "records": [record]})
                    self.went()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), LOOK_S)
        self._hanging.remove(lease)
        if lease["records"]:
            async with Caller(self._address) as caller:
                await self._settle(caller, lease)

    async def _settle(self, caller: Caller, lease: dict[str, Any]) -> None:
        for _ in lease["records"]:
            self.went()  # whatever becomes of what it says
        self._note(await caller.post(lease["settle_url"], _settlements(lease, VERDICTS[self.reaction])))

    def _note(self, answer: Answer) -> None:
        assert answer.status == 200, answer
        self.stale += [result["result"] for result in answer.json()["results"]].count("expired")
        self.watch.changed()


def _settlements(lease: dict[str, Any], verdict: str) -> dict[str, Any]:
    return {"settlements": [{"delivery_id": each["delivery_id"], "verdict": verdict} for each in lease["records"]]}


def _received(record: dict[str, Any]) -> Received:
    return Received(
        topic=record["topic"],
        partition=record["partition"],
        offset=record["offset"],
        key=_bytes(record, "key"),
        value=_bytes(record, "value"),
        attempt=record["attempt"],
        epoch=record["epoch"],
    )


def _bytes(record: dict[str, Any], name: str) -> bytes | None:
    if (encoded := record.get(f"{name}_base64")) is not None:
        return b64decode(encoded, validate=True)
    text = record[name]
    return None if text is None else text.encode()
