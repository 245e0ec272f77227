"""An application that takes batches: from the first record to the last, a key only up to its first failure."""

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import unquote_to_bytes

from mpsd.core.outcome import DELIVERED, Outcome, Rejected, Retryable
from mpsd.demo.guarantees.events import DeliveryEnded, DeliveryStarted, SeenRecord, TimedEvent
from mpsd.demo.guarantees.guarantee import RecordPosition
from tests.conformance.http_server import HttpServer, Peer

WHOLE = Retryable(code="lost", reason="its request failed as a whole, which says nothing about it", lost=True)
WORDS: dict[str, Outcome] = {
    "retry": Retryable(code="verdict_retry", reason="as told"),
    "dead-letter": Rejected(code="verdict", reason="as told"),
}

Says = Callable[[bytes, int], str]
"""A function of a value and an attempt: empty, `retry`, `dead-letter`, or a status that the whole request is answered with."""


class BatchApplication:
    """Listens on a free port of the loopback interface. Use it with `async with`.

    Args:
        work_s: for each request.
    """

    def __init__(self, says: Says, work_s: float = 0.0) -> None:
        self._says = says
        self._work_s = work_s
        self._server = HttpServer(self._serve)
        self.url = ""
        self.events: list[TimedEvent] = []
        self.sizes: list[int] = []
        self.accepted: dict[RecordPosition, int] = {}
        self.runs = 0

    async def __aenter__(self) -> Self:
        self.url = f"http://127.0.0.1:{await self._server.start()}/batches"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    async def _serve(self, peer: Peer) -> None:
        while True:
            given = json.loads((await peer.request()).body)
            self.sizes.append(len(given))
            await asyncio.sleep(self._work_s)
            if peer.reader.at_eof() or peer.writer.is_closing():
                return  # whoever asked is gone, and nothing was done yet
            await self._take(peer, given)

    async def _take(self, peer: Peer, given: list[dict[str, Any]]) -> None:
        """All at one moment, so that what was seen is what was answered."""
        said = [self._says(b64decode(event["data_base64"]), event["mpsattempt"]) for event in given]
        whole = next((int(words) for words in said if words.isdigit()), None)
        if whole is not None:
            for event in given:
                self._see(event, WHOLE if len(given) > 1 else Rejected(code="status", reason=""))
            await peer.answer(whole)
            return
        failures, stopped = [], set[tuple[object, ...]]()
        for event, words in zip(given, said, strict=True):
            key = (event["mpstopic"], event["mpspartition"], event.get("mpskey", event["id"]))
            if key in stopped:
                continue
            self._see(event, WORDS.get(words, DELIVERED))
            if words:
                failures.append({"id": event["id"], "action": words, "reason": "as told"})
            if words == "retry":
                stopped.add(key)
        keys = {(event["mpspartition"], event.get("mpskey", event["id"])) for event in given}
        self.runs += len(keys) < len(given)
        await peer.answer(200, body=json.dumps({"failures": failures}).encode() if failures else b"")

    def _see(self, event: dict[str, Any], outcome: Outcome) -> None:
        key = event.get("mpskey")
        place = RecordPosition(event["mpstopic"], event["mpspartition"], int(event["mpsoffset"]))
        record = SeenRecord(*place, None if key is None else unquote_to_bytes(key))
        at_s = time.monotonic()
        self.events += [DeliveryStarted(record, at_s, event["mpsattempt"]), DeliveryEnded(record, at_s, outcome)]
        if outcome is DELIVERED:
            self.accepted[place] = self.accepted.get(place, 0) + 1
