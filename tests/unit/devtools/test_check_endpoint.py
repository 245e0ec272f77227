"""Applications with one defect each: it is found, and a good one has none."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typing_extensions import override

from mpsd.commands import app
from mpsd.config import Batch, RestDelivery
from mpsd.devtools.advice import Advice, advice
from mpsd.devtools.check_endpoint import check
from mpsd.devtools.deliverer import StepResult, deliver_steps
from mpsd.devtools.samples import steps
from tests.conformance.http_server import HttpServer, Peer, Request
from tests.fakes.rest_delivery import rest_delivery

Handler = Callable[[Peer, Request], Awaitable[None]]


def is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def is_poison(request: Request) -> bool:
    return request.header("content-type") == "application/json" and bool(request.body) and not is_json(request.body)


async def good(peer: Peer, request: Request) -> None:
    await peer.answer(422 if is_poison(request) else 200)


@asynccontextmanager
async def serving(handler: Handler, batch: int = 1, timeout_s: float = 30.0) -> AsyncIterator[RestDelivery]:
    async def serve(peer: Peer) -> None:
        while True:
            await handler(peer, await peer.request())

    server = HttpServer(serve)
    port = await server.start()
    try:
        url = f"http://127.0.0.1:{port}/"
        yield rest_delivery(url, concurrency_max=8, timeout_s=timeout_s, batch=Batch(records_max=batch))
    finally:
        await server.stop()


async def checked(handler: Handler, *, batch: int = 1, timeout_s: float = 30.0) -> list[Advice]:
    async with serving(handler, batch, timeout_s) as settings:
        return (await check(settings, []))[1]


async def results_of(handler: Handler) -> tuple[list[StepResult], int]:
    async with serving(handler) as settings:
        return await deliver_steps(settings, steps([], 1))


def timed(results: list[StepResult], **took_s: float) -> list[StepResult]:
    """With these times for these steps."""
    return [replace(one, took_s=took_s.get(one.step.name, one.took_s)) for one in results]


def about(found: list[Advice], step: str) -> str:
    return "\n".join(f"{each.level}: {each.text}" for each in found if step in each.step.split(", "))


async def test_a_good_application_has_nothing_to_improve() -> None:
    assert await checked(good) == []


@pytest.mark.parametrize(
    ("status", "level", "says"),
    [
        (404, "problem", "outage"),
        (502, "problem", "outage"),
        (500, "problem", "times in vain"),
        (200, "hint", "accepted"),
    ],
)
async def test_a_poison_is_to_be_refused_for_good(status: int, level: str, says: str) -> None:
    async def handler(peer: Peer, request: Request) -> None:
        await peer.answer(status if is_poison(request) else 200)

    found = about(await checked(handler), "poison")
    assert found.startswith(level)
    assert says in found


async def test_an_error_inside_a_success_is_found() -> None:
    async def handler(peer: Peer, request: Request) -> None:
        await peer.answer(200, body=b'{"error": "no such customer"}' if is_poison(request) else b'{"ok": true}')

    found = await checked(handler)
    assert "error inside" in about(found, "poison")
    assert about(found, "normal") == ""


@pytest.mark.parametrize("body", [b'{"success": false}', b'{"status": "error"}', b'{"errors": [1]}'])
async def test_errors_are_worded_in_many_ways(body: bytes) -> None:
    async def handler(peer: Peer, request: Request) -> None:
        await peer.answer(200, body=body)

    (only,) = [each for each in await checked(handler) if each.level == "problem"]
    assert "error inside" in only.text
    assert only.step == "normal, again, concurrent and 5 more"


async def test_connections_that_are_closed_each_time_are_noticed() -> None:
    async def handler(peer: Peer, request: Request) -> None:
        await peer.answer(422 if is_poison(request) else 200, "Connection: close")
        raise EOFError

    found = await checked(handler)
    assert "keep-alive" in about(found, "connections")


async def test_connections_that_are_closed_without_a_word_are_noticed() -> None:
    async def handler(peer: Peer, request: Request) -> None:
        await good(peer, request)
        raise EOFError

    assert "do not stay open" in about(await checked(handler), "connections")


async def test_a_repetition_that_is_refused_is_a_problem() -> None:
    seen = set()

    async def handler(peer: Peer, request: Request) -> None:
        again = (key := request.header("idempotency-key")) in seen
        seen.add(key)
        await peer.answer(409 if again else 422 if is_poison(request) else 200)

    assert "repetition" in about(await checked(handler), "again")


@pytest.mark.parametrize(
    ("step", "is_it"),
    [
        ("tombstone", lambda request: request.header("mps-tombstone") == "true"),
        ("binary-key", lambda request: "%00" in (request.header("mps-key") or "")),
        ("bare", lambda request: request.header("mps-key") is None),
        ("large", lambda request: len(request.body) > 1_000_000),
        ("concurrent", lambda request: request.header("mps-key") == "customer-5"),
        ("normal", lambda request: request.header("mps-offset") == "0" and request.header("mps-attempt") == "1"),
    ],
)
async def test_a_crash_over_an_unusual_record_is_a_problem(step: str, is_it: Callable[[Request], bool]) -> None:
    async def handler(peer: Peer, request: Request) -> None:
        await (peer.answer(500) if is_it(request) else good(peer, request))

    found = await checked(handler)
    assert [each.step for each in found if each.level == "problem"] == [step]


@pytest.mark.parametrize("status", [413, 422])
async def test_what_may_be_refused_is_no_problem(status: int) -> None:
    async def handler(peer: Peer, request: Request) -> None:
        refused = len(request.body) > 1_000_000 or request.header("mps-tombstone")
        await (peer.answer(status) if refused else good(peer, request))

    assert await checked(handler) == []


async def test_a_slow_application_is_a_problem() -> None:
    seen, connections = await results_of(good)
    found = advice(timed(seen, tombstone=1.1), connections, 2.0, is_batch=False)
    assert "of the 2 s" in about(found, "tombstone")


async def test_no_answer_in_time_is_a_problem() -> None:
    async def handler(peer: Peer, request: Request) -> None:
        if request.header("mps-tombstone"):
            await peer.gone()
            raise EOFError
        await good(peer, request)

    assert "timed out" in about(await checked(handler, timeout_s=1.0), "tombstone")


async def test_one_at_a_time_is_worth_a_hint() -> None:
    """The time of one alone is given, because load can only lengthen the time of several, and hide the difference."""
    turn, work_s = asyncio.Lock(), 0.05

    async def handler(peer: Peer, request: Request) -> None:
        async with turn:
            await asyncio.sleep(work_s)
            await good(peer, request)

    seen, connections = await results_of(handler)
    found = advice(timed(seen, normal=work_s), connections, 30.0, is_batch=False)
    assert about(found, "concurrent").startswith("hint")


@pytest.mark.parametrize(
    ("alone_s", "together_s", "is_worth_it"), [(0.05, 0.33, True), (0.05, 0.31, False), (0.01, 0.4, False)]
)
async def test_only_what_takes_long_and_much_longer_together_is_one_at_a_time(
    alone_s: float, together_s: float, is_worth_it: bool
) -> None:
    seen, connections = await results_of(good)
    found = advice(timed(seen, normal=alone_s, concurrent=together_s), connections, 30.0, is_batch=False)
    assert ("one at a time" in about(found, "concurrent")) == is_worth_it


async def test_what_is_no_http_is_a_problem_and_the_end() -> None:
    async def handler(peer: Peer, request: Request) -> None:
        await peer.send(b"+OK POP3 ready\r\n")
        await peer.gone()
        raise EOFError

    (only,) = await checked(handler)
    assert only.level == "problem"
    assert "the port speaks POP3, not HTTP" in only.text


def failures(request: Request) -> bytes:
    named = [
        {"id": event["id"], "action": "dead-letter"}
        for event in json.loads(request.body)
        if event.get("datacontenttype") == "application/json" and "data_base64" in event
    ]
    return json.dumps({"failures": named}).encode() if named else b""


async def test_a_good_application_of_batches_has_nothing_to_improve() -> None:
    async def handler(peer: Peer, request: Request) -> None:
        await peer.answer(200, body=failures(request))

    assert await checked(handler, batch=10) == []


async def test_a_batch_that_fails_whole_is_worth_a_hint() -> None:
    async def handler(peer: Peer, request: Request) -> None:
        await peer.answer(422 if failures(request) else 200)

    found = await checked(handler, batch=10)
    assert [each.level for each in found] == ["hint"]
    assert "failures" in about(found, "spoiled")


async def test_an_answer_to_a_batch_that_cannot_be_believed_is_a_problem() -> None:
    async def handler(peer: Peer, request: Request) -> None:
        await peer.answer(200, body=b'{"status": "ok"}')

    assert "failures by id" in about(await checked(handler, batch=10), "normal")


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    token = "s3cret"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        poison = self.headers["content-type"] == "application/json" and body and not is_json(body)
        self.send_response(401 if self.headers["x-token"] != self.token else 422 if poison else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Application)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/orders"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_command_says_all_is_well(url: str, tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text('{"key": "a", "value": {"id": 1}}\n{"value": "text"}\n')
    result = CliRunner().invoke(app, ["check-endpoint", url, "--header", "X-Token: s3cret", "--records", str(file)])
    assert result.exit_code == 0, result.output
    assert "record 2 of the file" in result.output
    assert "0 problems" in result.output
    assert all(len(line) <= 80 for line in result.output.splitlines())


def test_the_command_says_what_is_wrong_for_programs(url: str) -> None:
    result = CliRunner().invoke(app, ["check-endpoint", url, "--json"])
    said = json.loads(result.output)
    assert result.exit_code == 1
    assert said["ok"] is False
    assert said["steps"][0]["statuses"] == [401]
    assert said["steps"][0]["outcomes"][0]["outcome"] == "status_401"
    assert said["advice"][0]["level"] == "problem"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ftp://127.0.0.1/"], "URL"),
        (["http://127.0.0.1/", "--header", "nonsense"], "--header"),
        (["http://127.0.0.1/", "--header", "a b: c"], "--header"),
        (["http://127.0.0.1/", "--records", "/does/not/exist"], "--records"),
        (["http://127.0.0.1/", "--batch", "0"], "--batch"),
        (["http://127.0.0.1/", "--timeout", "0"], "--timeout"),
        ([], "URL"),
    ],
)
def test_a_wrong_command_line_is_named(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["check-endpoint", *arguments])
    assert result.exit_code == 2
    assert says in result.output


def test_nobody_at_home_is_a_problem() -> None:
    result = CliRunner().invoke(app, ["check-endpoint", "http://127.0.0.1:1/"])
    assert result.exit_code == 1
    assert "refused" in result.output
