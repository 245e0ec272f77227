"""The adapter of batches and an application that speaks HTTP and CloudEvents."""

import json
from base64 import b64decode
from typing import Any
from urllib.parse import unquote_to_bytes

from typing_extensions import override

from mpsd.config import Batch
from mpsd.delivery.rest import BatchAdapter
from tests.conformance.harness import Reaction, Received
from tests.conformance.http_server import Peer, Request
from tests.conformance.rest_harness import REACTIONS, RestHarness
from tests.fakes.rest_delivery import rest_delivery

RECORDS_MAX = 5
ACTIONS = {Reaction.ASK_TO_RETRY: "retry", Reaction.REJECT: "dead-letter"}


class BatchHarness(RestHarness):
    records_per_request = RECORDS_MAX

    @override
    async def start(self, *, concurrency_max: int, timeout_s: float) -> BatchAdapter:
        port = await self.server.start()
        url = f"http://127.0.0.1:{port}/orders"
        batch = Batch(records_max=RECORDS_MAX)
        return BatchAdapter(
            "billing", rest_delivery(url, concurrency_max=concurrency_max, timeout_s=timeout_s, batch=batch)
        )

    @override
    async def serve(self, peer: Peer) -> None:
        while True:
            given = events(await peer.request())
            for event in given:
                self.came(received(event))
            try:
                if self.reaction is Reaction.HANG:
                    await self.hang(peer)
                elif self.reaction in ACTIONS:
                    await answer(peer, {event["id"]: ACTIONS[self.reaction] for event in given})
                else:
                    await REACTIONS[self.reaction](peer)
            finally:
                for _ in given:
                    self.went()


def events(request: Request) -> list[dict[str, Any]]:
    """Return the events that a request carries."""
    assert request.header("content-type") == "application/cloudevents-batch+json"
    given: list[dict[str, Any]] = json.loads(request.body)
    return given


async def answer(peer: Peer, failed: dict[str, str]) -> None:
    failures = [{"id": record_id, "action": action, "reason": "as told"} for record_id, action in failed.items()]
    await peer.answer(200, body=json.dumps({"failures": failures}).encode())


def received(event: dict[str, Any]) -> Received:
    key = event.get("mpskey")
    value = json.dumps(event["data"]).encode() if "data" in event else b64decode(event.get("data_base64", ""))
    return Received(
        topic=event["mpstopic"],
        partition=event["mpspartition"],
        offset=int(event["mpsoffset"]),
        key=None if key is None else unquote_to_bytes(key),
        value=None if event.get("mpstombstone") else value,
        attempt=event["mpsattempt"],
        epoch=event["mpsepoch"],
    )
