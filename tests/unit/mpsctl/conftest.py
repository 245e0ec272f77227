"""A real gRPC server on the loopback that answers what a test has scripted, and mpsctl run against it."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import pytest
from typer.testing import CliRunner

from mps.admin.v1.admin_pb2_grpc import AdminServicer, add_AdminServicer_to_server
from mpsctl.__main__ import app

METHODS = [name for name in vars(AdminServicer) if name[0].isupper()]


class Daemon:
    """Answers of the daemon by method: a message, several for a stream, or a function of request and context.

    A method without a script is one that this daemon does not know: UNIMPLEMENTED, as of an older version.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self.metadata: dict[str, str] = {}
        self.address = ""

    def requests(self, method: str) -> list[Any]:
        return [request for name, request in self.asked if name == method]

    def answer(self, name: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append((name, request))
        self.metadata = {key: str(value) for key, value in context.invocation_metadata()}
        if name not in self.answers:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        said = self.answers[name]
        return said(request, context) if callable(said) else said


class Ran(NamedTuple):
    """The end of a run of mpsctl."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


def serve(daemon: Daemon, address: str = "127.0.0.1:0") -> grpc.Server:
    def method(name: str) -> Any:
        return lambda _, request, context: daemon.answer(name, request, context)

    servicer = type("Scripted", (AdminServicer,), {name: method(name) for name in METHODS})()
    server = grpc.server(ThreadPoolExecutor(8))
    add_AdminServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    daemon.address = f"127.0.0.1:{port}"
    server.start()
    return server


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    scripted = Daemon()
    server = serve(scripted)
    yield scripted
    server.stop(0).wait()


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No setting of whoever runs the tests."""
    for name in (
        "ADDRESS",
        "TOKEN",
        "TOKEN_FILE",
        "TLS",
        "CA",
        "CERT",
        "KEY",
        "TIMEOUT",
        "CONFIG",
        "CONTEXT",
        "INSECURE",
    ):
        monkeypatch.delenv(f"MPSCTL_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def mpsctl(daemon: Daemon, clean: None) -> Run:
    """Run it as a script would: no terminal, no confirmation."""

    def run(*words: str, address: str = "") -> Ran:
        result = CliRunner().invoke(app, ["--address", address or daemon.address, *words], prog_name="mpsctl")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run
