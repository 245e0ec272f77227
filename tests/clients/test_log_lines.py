"""Log lines of the client: sentences for operators, and never an object's repr."""

import asyncio
import logging
import re
import signal
import sys
from pathlib import Path

import grpc
import pytest

from mps_client import Record, Subscription, SubscriptionRefused
from mps_client.link import describe
from tests.clients.scripted_daemon import many, scripted_daemon
from tests.integration.world.patience import until

CLIENTS = Path(__file__).parent.parent.parent / "clients" / "python"
PROGRAM = """
from mps_client import run

async def bill(record): ...

run(bill, "billing", {address!r})
"""


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.set_level(logging.INFO, "mps_client")
    return caplog.messages


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged lines, with all pauses as one."""
    assert not any(re.search(r"<\w+ |0x[0-9a-f]{6}", line) for line in caplog.messages), "an object's repr"
    return [re.sub(r"\bin [0-9.]+ s", "in … s", line) for line in caplog.messages]


async def accept(record: Record) -> None:
    """Done."""


async def test_a_stream_opens_is_lost_and_opens_again(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted_daemon() as daemon, Subscription("billing", daemon.address) as records:
        (await daemon.accepted()).end(grpc.StatusCode.UNAVAILABLE)
        (await daemon.accepted()).records(*many(1, 1))
        (await anext(records)).ack()
        address = daemon.address
    assert said(caplog) == [
        f"billing: connected to {address}",
        f"billing: lost the connection to {address}: a test ends it; reconnecting in … s",
        f"billing: connected to {address}",
    ]


async def test_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    async with Subscription("billing", "127.0.0.1:1"):
        await until(lambda: caplog.messages, "a line")
    (line,) = said(caplog)
    assert line.startswith("billing: cannot receive from 127.0.0.1:1: Failed to connect to remote host: ")
    assert line.endswith("; reconnecting in … s")


async def test_what_is_not_tried_again_is_not_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted_daemon(grpc.StatusCode.NOT_FOUND) as one, scripted_daemon(grpc.StatusCode.NOT_FOUND) as two:
        with pytest.raises(SubscriptionRefused) as caught:
            await Subscription("billing", [one.address, two.address]).run(accept, signals=())
        assert len(one.streams) + len(two.streams) <= 3
    assert re.fullmatch(
        r"billing: nothing can be received from 127\.0\.0\.1:\d+: subscription billing is not known there: a test refuses",
        str(caught.value),
    )
    assert all("reconnecting" not in line for line in said(caplog)[1:])


async def test_one_that_refuses_beside_one_that_does_not(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        scripted_daemon() as good,
        scripted_daemon(grpc.StatusCode.UNAUTHENTICATED) as bad,
        Subscription("billing", [good.address, bad.address]),
    ):
        await good.accepted()
        await until(lambda: any(bad.address in line for line in caplog.messages), "it is said")
    assert (
        f"billing: cannot receive from {bad.address}: the token was not accepted: a test refuses; reconnecting in … s"
    ) in said(caplog)


async def test_a_token_function_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    def token() -> str:
        raise FileNotFoundError(2, "No such file or directory", "/run/token")

    async with Subscription("billing", "127.0.0.1:1", token=token):
        await until(lambda: caplog.messages, "a line")
    assert said(caplog)[0] == (
        "billing: cannot receive from 127.0.0.1:1: the function that returns the token failed: FileNotFoundError:"
        " [Errno 2] No such file or directory: '/run/token'; reconnecting in … s"
    )


async def test_a_failed_handler_and_a_stop(caplog: pytest.LogCaptureFixture) -> None:
    running = asyncio.Event()

    async def fail(record: Record) -> None:
        if record.offset == 1:
            raise ValueError("no")
        running.set()
        await asyncio.Event().wait()

    async with scripted_daemon() as daemon:
        records = Subscription("billing", daemon.address, drain_timeout_s=0.05)
        working = asyncio.create_task(records.run(fail, signals=()))
        (await daemon.accepted()).records(*many(1, 2))
        await running.wait()
        records._on_signal()
        await asyncio.gather(working, return_exceptions=True)
    assert said(caplog)[1:] == [
        "orders/0@1: the handler failed; the record will be delivered again",
        "billing: stopping, as a signal asks; records that are still worked on: 1",
        "billing: records not settled within 0.05 s: 1; giving them back, they are delivered again",
    ]


async def test_a_whole_program_that_is_refused_ends_with_words_and_no_trace() -> None:
    async with scripted_daemon(grpc.StatusCode.NOT_FOUND) as daemon:
        program = PROGRAM.format(address=daemon.address)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE, cwd=CLIENTS
        )
        try:
            async with asyncio.timeout(30):
                _, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()
    assert process.returncode == 1
    assert complaint.decode() == (
        f"billing: nothing can be received from {daemon.address}:"
        " subscription billing is not known there: a test refuses\n"
    )


@pytest.mark.parametrize(
    ("code", "details", "words"),
    [
        (
            grpc.StatusCode.UNAVAILABLE,
            (
                "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host:"
                " Connection refused (111)"
            ),
            "Failed to connect to remote host: Connection refused (111)",
        ),
        (grpc.StatusCode.UNAVAILABLE, "", "it gave no reason"),
        (grpc.StatusCode.FAILED_PRECONDITION, "x", "subscription billing is not delivered by streams: x"),
        (grpc.StatusCode.PERMISSION_DENIED, "x", "the token does not allow subscription billing: x"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "x", "the daemon takes no more streams: x"),
        (
            grpc.StatusCode.UNIMPLEMENTED,
            "x",
            "no stream listener answers there, is it the address of [stream] listen? x",
        ),
        (grpc.StatusCode.INTERNAL, "x", "x (INTERNAL)"),
    ],
)
def test_a_status_in_words(code: grpc.StatusCode, details: str, words: str) -> None:
    assert describe(code, details, "billing") == words
