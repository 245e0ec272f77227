"""Health and metrics, asked of a real server on a free port."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from mpsd.admin.http import http_app
from mpsd.admin.metrics import registry
from mpsd.listeners.address import bind
from mpsd.listeners.http import serving_http
from mpsd.listeners.tokens import Tokens, load_tokens
from tests.conformance.http_client import Answer
from tests.fakes.daemon import QuietDaemon


class Client:
    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None) -> None:
        self._address = address
        self._tls = tls

    async def __call__(self, path: str, method: str = "GET", **headers: str) -> Answer:
        reader, writer = await asyncio.open_connection(*self._address, ssl=self._tls)
        named = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{named}\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        first, *rest = head.decode().split("\r\n")
        return Answer(int(first.split()[1]), dict(line.lower().split(": ", 1) for line in rest), body)


@asynccontextmanager
async def serving(
    daemon: QuietDaemon, tokens: Tokens | None = None, tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
) -> AsyncIterator[Client]:
    listener = bind("http", "127.0.0.1:0")
    address = listener.getsockname()
    app = http_app(daemon, registry(daemon, lambda: 0), tokens)
    async with serving_http(app, listener, tls[0] if tls else None):
        yield Client(address, tls[1] if tls else None)


@pytest.mark.parametrize(("path", "word"), [("/healthz", "alive"), ("/readyz", "ready")])
async def test_all_is_well(path: str, word: str) -> None:
    async with serving(QuietDaemon()) as get:
        answer = await get(path)
    assert (answer.status, answer.json()) == (200, {"status": word, "reasons": []})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


async def test_a_stuck_poll_is_named_and_does_not_touch_readiness() -> None:
    async with serving(QuietDaemon(dead=["billing: no poll for 61 s"])) as get:
        answer = await get("/healthz")
        assert (answer.status, answer.json()["reasons"]) == (503, ["billing: no poll for 61 s"])
        assert answer.json()["status"] == "not alive"
        assert (await get("/readyz")).status == 200


async def test_readiness_follows_the_daemon() -> None:
    daemon = QuietDaemon(waiting=["billing: joining its group"])
    async with serving(daemon) as get:
        assert (await get("/readyz")).status == 503
        daemon.waiting.clear()
        assert (await get("/readyz")).status == 200
        assert (await get("/healthz")).status == 200


async def test_metrics_are_text_or_openmetrics_as_asked() -> None:
    async with serving(QuietDaemon()) as get:
        plain = await get("/metrics")
        strict = await get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert "mps_build_info" in {family.name for family in text_string_to_metric_families(plain.body.decode())}
    assert strict.headers["content-type"].startswith("application/openmetrics-text")
    assert strict.body.endswith(b"# EOF\n")
    assert strict.body.count(b"# EOF") == 1
    assert list(openmetrics_families(strict.body.decode()))  # type: ignore[no-untyped-call]


async def test_an_unknown_path_is_a_problem_that_says_what_there_is() -> None:
    async with serving(QuietDaemon()) as get:
        answer = await get("/health")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "nothing here; there are /healthz, /readyz, /metrics",
    }


async def test_a_method_that_is_not_allowed_is_a_problem_that_says_which_are() -> None:
    async with serving(QuietDaemon()) as get:
        answer = await get("/metrics", "POST", content_length="0")
    assert (answer.status, answer.json()["status"]) == (405, 405)
    assert set(answer.headers["allow"].split(", ")) == {"get", "head"}


async def test_head_has_no_body() -> None:
    async with serving(QuietDaemon()) as get:
        answer = await get("/readyz", "HEAD")
    assert (answer.status, answer.body) == (200, b"")


async def test_a_bug_is_a_problem_and_the_server_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(QuietDaemon(broken=True)) as get:
        answer = await get("/metrics")
        assert (await get("/healthz")).status == 200
    assert (answer.status, answer.json()["title"]) == (500, "Internal Server Error")
    assert "a bug" in caplog.text
    assert b"a bug" not in answer.body


async def test_with_tokens_metrics_need_one_and_probes_do_not(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text("[[tokens]]\nname = 'prometheus'\nrole = 'viewer'\ntoken = 'viewer-0123456789'\n")
    with path.open("a") as file:
        file.write("[[tokens]]\nname='app'\nrole='consumer'\nsubscriptions=['*']\ntoken = 'consumer-01234567'\n")
    async with serving(QuietDaemon(), load_tokens("http", str(path), ())) as get:
        refused = await get("/metrics", authorization="Bearer consumer-01234567")
        assert (refused.status, refused.json()["title"]) == (403, "Forbidden")
        assert refused.json()["detail"] == "metrics need the role viewer; app has consumer"
        refused = await get("/metrics", authorization="Bearer wrong")
        assert (refused.status, refused.json()["title"]) == (401, "Unauthorized")
        assert refused.headers["www-authenticate"].startswith("bearer")
        assert (await get("/metrics", authorization="Bearer viewer-0123456789")).status == 200
        assert (await get("/readyz")).status == 200
        assert (await get("/healthz")).status == 200


async def test_over_tls() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with serving(QuietDaemon(), tls=(server, client)) as get:
        assert (await get("/healthz")).status == 200
