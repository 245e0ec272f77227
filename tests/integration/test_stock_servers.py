"""Applications in stock frameworks behind stock servers, with nothing set but the URL: each takes the records as meant."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pytest

from mpsd.demo.broker.ports import free_ports
from mpsd.demo.broker.processes import GuardedProcesses
from tests.docs.blocks import ROOT, blocks
from tests.integration.world import Message, World

pytestmark = pytest.mark.integration

COUNT = 20
AWKWARD: Sequence[tuple[str, bytes]] = (
    ("ce_type", b"order placed"),
    ("__TypeId__", b"com.example.Order"),
    ("kafka.correlation.id", b"\x00\xff"),
    ("b3", b"1"),
    ("with blank", "ä&=, ".encode()),
    ("ce_type", b"again"),
)
"""Names that nginx and gunicorn drop, bytes that no header carries, a name that comes twice."""
INSTALL_S = 120.0
NGINX = """\
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{behind}; }}
    }}
}}
"""
ECHO = """\
import json
import os

from flask import Flask, request

app = Flask(__name__)


@app.route("/<path:path>", methods=["POST", "PUT"])
def take(path):
    headers = [[name, value] for name, value in request.headers.items() if name.lower().startswith("mps-header")]
    taken = {"method": request.method, "path": request.full_path.rstrip("?"), "headers": headers}
    print("took", json.dumps({**taken, "body": request.get_json(silent=True)}), flush=True)
    return "", 204
"""


@pytest.fixture
def processes() -> Iterator[GuardedProcesses]:
    with closing(GuardedProcesses()) as processes:
        yield processes


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return the directory with the programs of the page, and one that prints every request."""
    for block in blocks((ROOT / "docs/how-to/frameworks.md").read_text()):
        if "file" in block.words:
            (tmp_path / block.words["file"]).write_text(block.text)
    (tmp_path / "echo_app.py").write_text(ECHO)
    return tmp_path


@pytest.fixture(scope="module")
def express(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of Node modules with Express in it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node with npm here: Express is not tried")
    directory = tmp_path_factory.mktemp("node")
    (directory / "package.json").write_text('{"private": true}')
    argv = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "express@5"]
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    if done.returncode:
        pytest.skip(f"Express cannot be had here: {done.stderr.strip()[-200:]}")
    return directory / "node_modules"


def uvicorn(directory: Path, port: int) -> list[str]:
    words = ["-m", "uvicorn", "fastapi_app:app", "--port", str(port), "--app-dir", str(directory), "--no-access-log"]
    return [sys.executable, *words]


def gunicorn(directory: Path, port: int, application: str = "flask_app", *options: str) -> list[str]:
    words = ["-m", "gunicorn", "--chdir", str(directory), "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    return [sys.executable, *words, *options, f"{application}:app"]


def flask(directory: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", str(directory / "flask_app.py"), "run", "--port", str(port)]


def started(processes: GuardedProcesses, name: str, argv: Sequence[str], directory: Path, **environ: str) -> Path:
    """Start a server, which inherits nothing but the path; return its log."""
    log = directory / f"{name}.log"
    given = [f"{key}={value}" for key, value in {"PYTHONUNBUFFERED": "1", **environ}.items()]
    processes.start(name, ["env", *given, *argv], log=log)
    return log


def nginx_before(processes: GuardedProcesses, directory: Path, port: int, behind: int) -> None:
    """Start nginx as Debian's package brings it, between the daemon and what listens behind it."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        pytest.skip("there is no nginx here: what it drops is not tried")
    (directory / "nginx.conf").write_text(NGINX.format(directory=directory, port=port, behind=behind))
    started(processes, "nginx", [program, "-p", str(directory), "-c", str(directory / "nginx.conf")], directory)


def billed(log: Path) -> set[tuple[str, str]]:
    """Return the amounts that an application has billed, each with the header that it read."""
    return set(re.findall(r"billed (\S+) of (order placed|again):", log.read_text()))


def took(log: Path) -> dict[str, Any]:
    """Return the one request that the echo was sent."""
    (found,) = re.findall(r"^took (.*)$", log.read_text(), re.MULTILINE)
    request: dict[str, Any] = json.loads(found)
    return request


def read(headers: Sequence[tuple[str, str]]) -> list[tuple[str, bytes]]:
    """Return the record's headers as the contract says that they are read, from however many lines."""
    text = "".join(value for name, value in headers if name == "Mps-Headers").replace(",", "").replace(" ", "")
    fields = [field.partition("=") for field in text.split("&")]
    return [(unquote(name), unquote_to_bytes(value)) for name, _, value in fields]


async def delivered(world: World, url: str, *messages: Message, **delivery: object) -> None:
    """Deliver the messages with nothing set but what is given, until none is left."""
    topic = await world.create_topic()
    subscription = world.subscription(topic, delivery={"protocol": "rest", "url": url, **delivery})
    await world.start_daemon(subscription)
    await world.produce(topic, messages)
    await world.settled(topic)
    assert [dead_letter.headers for dead_letter in await world.dead_letters(topic)] == []


def orders() -> list[Message]:
    values = (json.dumps({"amount": number + 0.5}, indent=number % 2 or None).encode() for number in range(COUNT))
    return [Message(b"k%d" % (number % 5), value, headers=AWKWARD) for number, value in enumerate(values)]


@pytest.mark.parametrize("server", ["fastapi", "gunicorn", "gunicorn-threads", "flask", "nginx"])
async def test_plain_json_arrives_as_an_object(
    world: World, processes: GuardedProcesses, programs: Path, server: str
) -> None:
    port, behind = free_ports(2)
    match server:
        case "fastapi":
            log = started(processes, server, uvicorn(programs, port), programs)
        case "nginx":
            nginx_before(processes, programs, port, behind)
            log = started(processes, server, uvicorn(programs, behind), programs)
        case "gunicorn":
            log = started(processes, server, gunicorn(programs, port), programs)
        case "gunicorn-threads":
            log = started(processes, server, gunicorn(programs, port, "flask_app", "--threads", "8"), programs)
        case _:
            log = started(processes, server, flask(programs, port), programs)
    await delivered(world, f"http://127.0.0.1:{port}/orders", *orders())
    assert billed(log) == {(str(number + 0.5), "again") for number in range(COUNT)}


async def test_plain_json_arrives_at_express_as_an_object(
    world: World, processes: GuardedProcesses, programs: Path, express: Path
) -> None:
    (port,) = free_ports(1)
    argv = ["node", str(programs / "express_app.js")]
    log = started(processes, "express", argv, programs, PORT=str(port), NODE_PATH=str(express))
    await delivered(world, f"http://127.0.0.1:{port}/orders", *orders())
    assert billed(log) == {(str(number + 0.5), "order placed") for number in range(COUNT)}


async def test_express_unpacks_what_a_producer_packed(
    world: World, processes: GuardedProcesses, programs: Path, express: Path
) -> None:
    (port,) = free_ports(1)
    argv = ["node", str(programs / "express_app.js")]
    log = started(processes, "express", argv, programs, PORT=str(port), NODE_PATH=str(express))
    headers = [("content-encoding", b"gzip"), ("contentType", b'"application/json"')]
    headers.append(("ce_type", b"again"))
    packed = Message(b"k", gzip.compress(b'{"amount": 7.5}'), headers=headers)
    await delivered(world, f"http://127.0.0.1:{port}/orders", packed)
    assert billed(log) == {("7.5", "again")}


@pytest.mark.parametrize("server", ["gunicorn", "nginx"])
async def test_all_record_headers_pass_a_server_that_drops_separate_ones(
    world: World, processes: GuardedProcesses, programs: Path, server: str
) -> None:
    port, behind = free_ports(2)
    if server == "nginx":
        nginx_before(processes, programs, port, behind)
    log = started(processes, "echo", gunicorn(programs, port if server == "gunicorn" else behind, "echo_app"), programs)
    url = f"http://127.0.0.1:{port}/orders"
    large: list[tuple[str, bytes]] = [*AWKWARD, *((f"large_{number}", b"x" * 3_000) for number in range(8))]
    await delivered(world, url, Message(b"k", b"{}", headers=large))
    assert read(took(log)["headers"]) == [(name, value) for name, value in large]


@pytest.mark.parametrize(
    ("server", "passed"), [("gunicorn", {"b3", "kafka.correlation.id", "with%20blank"}), ("nginx", {"b3"})]
)
async def test_separate_record_headers_are_dropped_on_the_way(
    world: World, processes: GuardedProcesses, programs: Path, server: str, passed: set[str]
) -> None:
    """Hold what the contract says of these servers, so that the page is mended when they are."""
    port, behind = free_ports(2)
    if server == "nginx":
        nginx_before(processes, programs, port, behind)
    log = started(processes, "echo", gunicorn(programs, port if server == "gunicorn" else behind, "echo_app"), programs)
    message = Message(b"k", b"{}", headers=AWKWARD)
    await delivered(world, f"http://127.0.0.1:{port}/orders", message, record_headers="separate")
    assert {name.lower().removeprefix("mps-header-") for name, _ in took(log)["headers"]} == passed


async def test_a_record_is_put_where_its_topic_and_header_say(
    world: World, processes: GuardedProcesses, programs: Path
) -> None:
    (port,) = free_ports(1)
    log = started(processes, "echo", gunicorn(programs, port, "echo_app"), programs)
    url = f"http://127.0.0.1:{port}/v1/{{topic}}/of/{{header:tenant}}?as={{header:tenant}}"
    message = Message(b"k", b'{"amount": 1}', headers=[("tenant", "Zürich & Söhne/1".encode())])
    await delivered(world, url, message, method="PUT")
    request = took(log)
    assert (request["method"], request["body"]) == ("PUT", {"amount": 1})
    path, _, query = request["path"].partition("?")
    assert path.startswith("/v1/t-")
    assert path.endswith("/of/Zürich & Söhne/1")
    assert query == "as=Z%C3%BCrich%20%26%20S%C3%B6hne%2F1"
