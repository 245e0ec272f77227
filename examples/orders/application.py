"""An application that takes orders from the Message Proxy Service: one HTTP request for each Kafka record.

    python application.py                                  # prints its address: http://127.0.0.1:41873/orders
    python application.py --port 8000 --log events.jsonl   # also logs each request and its answer

The application needs no Kafka client. A request has the record's value as its body, and the rest of the record in its
headers. The status of the answer decides about the record:

    200  accepted: the next record of this key can be delivered
    422  rejected: the record goes to the dead-letter topic, with the reason
    500  failed: the proxy delivers the record again after a pause, up to `attempts_max` times
    503, or no answer at all: the proxy waits until the application is back, and counts no attempt

A good receiver answers only when the work is done, and does no harm if it does the work twice, because a record can be
delivered again after a crash. `Orders.take` shows both. You can run any number of copies, because the proxy never delivers
two records of one key at a time.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

BACKLOG = 1024
"""Connections that may wait until they are accepted."""


class Answer(NamedTuple):
    """An answer to the proxy."""

    status: int
    reason: str = ""


class Orders:
    """The business: every order is taken once.

    Args:
        work_s: what the work takes, as if a database were asked.
    """

    def __init__(self, work_s: float) -> None:
        self._work_s = work_s
        self._taken: set[str] = set()

    async def take(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take an order, or say why not."""
        # The same for every attempt at a record, so it tells a repetition from a new order. A real application keeps
        # it under a unique constraint in the transaction that does the work; this one forgets it when it ends.
        idempotency_key = headers["idempotency-key"]
        if idempotency_key in self._taken:
            return Answer(200)
        try:
            order = json.loads(body)
            amount, warehouse = float(order["amount"]), str(order["warehouse"])
        except (ValueError, KeyError, TypeError):
            return Answer(422, "this is not an order")
        await asyncio.sleep(self._work_s)
        if amount <= 0:
            return Answer(422, "the amount must be above zero")
        if warehouse == "remote" and int(headers["mps-attempt"]) <= 2:
            return Answer(500, "the remote warehouse did not answer")
        self._taken.add(idempotency_key)
        return Answer(200)


class EventLog:
    """A log of all that the application saw, one JSON object a line; the demo judges the proxy by it.

    Every line is written at once, so that not even `kill -9` loses one.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("ab", buffering=0) if path else None

    def write(self, event: str, **fields: object) -> None:
        """Write a line, with the time on a clock that all processes of the machine share."""
        if self._file:
            entry = {"event": event, "at_s": round(time.monotonic(), 6), **fields}
            self._file.write(json.dumps(entry).encode() + b"\n")


class Application:
    """The HTTP side: `POST /orders` takes an order, `POST /outage?seconds=2` makes the application go away and come back."""

    def __init__(self, orders: Orders, log: EventLog) -> None:
        self._orders = orders
        self._log = log
        self._server: uvicorn.Server | None = None
        self._outage_s = 0.0
        self.routes = Starlette(
            routes=[Route("/orders", self.orders, methods=["POST"]), Route("/outage", self.outage, methods=["POST"])]
        )

    async def orders(self, request: Request) -> Response:
        """One record from the proxy."""
        headers = request.headers
        where: dict[str, Any] = {
            "topic": headers["mps-topic"],
            "partition": int(headers["mps-partition"]),
            "offset": int(headers["mps-offset"]),
            "key": headers.get("mps-key"),  # absent: the record has no key; otherwise it is percent-encoded
        }
        self._log.write("delivery_started", **where, attempt=int(headers["mps-attempt"]))
        status, reason = await self._orders.take(await request.body(), headers)
        self._log.write("delivery_ended", **where, answer=status, **({"reason": reason} if reason else {}))
        return PlainTextResponse(reason, status, headers={"mps-reason": reason} if reason else None)

    async def outage(self, request: Request) -> Response:
        """Stop listening for some seconds, to show how the proxy treats an outage."""
        self._outage_s = min(60.0, max(0.0, float(request.query_params.get("seconds", "2"))))
        assert self._server, "it has received a request"
        if not self._server.should_exit:
            self._log.write("outage_began")
            self._server.should_exit = True
        return PlainTextResponse(f"away for {self._outage_s:g} s\n")

    async def serve(self, host: str, port: int) -> None:
        """Listen until a signal; after an outage, listen on the same port again."""
        self._log.write("application_started")
        listener = bind(host, port)
        port = listener.getsockname()[1]
        print(f"http://{host}:{port}/orders", flush=True)
        while True:
            config = uvicorn.Config(self.routes, lifespan="off", access_log=False, log_level="warning", backlog=BACKLOG)
            self._server = uvicorn.Server(config)
            self._outage_s = 0.0
            await self._server.serve(sockets=[listener])  # returns after the last answer
            if not self._outage_s:
                return
            await asyncio.sleep(self._outage_s)
            listener = bind(host, port)
            self._log.write("outage_ended")


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that already listens, so that no connection is refused from now on; port 0: a free port."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(BACKLOG)
    return listener


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="Takes orders from the Message Proxy Service.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default: a free port")
    parser.add_argument("--log", type=Path, help="file for the event log; default: no log")
    parser.add_argument(
        "--work-s", type=float, default=0.002, help="time in seconds that an order takes, default %(default)s"
    )
    options = parser.parse_args()
    application = Application(Orders(options.work_s), EventLog(options.log))
    fast_loop = uvicorn.Config(application.routes).get_loop_factory()  # uvloop, where it is installed
    with asyncio.Runner(loop_factory=fast_loop) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(application.serve(options.host, options.port))


if __name__ == "__main__":
    main()
