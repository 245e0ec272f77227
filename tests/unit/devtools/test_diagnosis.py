"""The diagnosis of a refused ordinary record: one cause, one piece of advice, and the application's answer."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest
import trustme

from mpsd.config import Batch, ClientTls, RestDelivery
from mpsd.devtools.advice import Advice
from mpsd.devtools.check_endpoint import check
from mpsd.devtools.deliverer import StepResult
from mpsd.devtools.samples import Sample
from tests.conformance.http_server import HttpServer, Peer, Request, Script
from tests.fakes.rest_delivery import changed, rest_delivery

Answering = Callable[[Peer, Request], Awaitable[None]]


def path(request: Request) -> str:
    return request.line.split()[1]


def each(answering: Answering) -> Script:
    """Return a script that answers one request after the other."""

    async def script(peer: Peer) -> None:
        while True:
            await answering(peer, await peer.request())

    return script


@asynccontextmanager
async def serving(
    script: Script, url: str, server_tls: ssl.SSLContext | None, tls: ClientTls
) -> AsyncIterator[RestDelivery]:
    server = HttpServer(script)
    port = await server.start(tls=server_tls)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # handshakes that fail are what is tried
    try:
        yield rest_delivery(url.format(port=port), concurrency_max=8, timeout_s=2.0, tls=tls)
    finally:
        await server.stop()


async def checked(
    script: Script,
    url: str = "http://127.0.0.1:{port}/orders",
    *,
    own: list[Sample] | None = None,
    server_tls: ssl.SSLContext | None = None,
    tls: ClientTls = ClientTls(),  # noqa: B008 - it cannot be changed
) -> tuple[list[StepResult], list[Advice]]:
    async with serving(script, url, server_tls, tls) as settings:
        return await check(settings, own or [])


async def only(script: Script, url: str = "http://127.0.0.1:{port}/orders", own: list[Sample] | None = None) -> Advice:
    """Return the only piece of advice."""
    _, (found,) = await checked(script, url, own=own)
    assert (found.level, found.step) == ("problem", "normal")
    return found


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("/orders/", "/orders/ (the trailing slash is the difference: it wants one)"),
        ("orders/", "/orders/ (the trailing slash is the difference: it wants one)"),
        ("https://127.0.0.1:{port}/orders", "(TLS is the difference)"),
        ("https://login.example/", "it redirects to https://login.example/; the daemon follows no redirect"),
        ("", "a redirect, which the daemon does not follow"),
    ],
)
async def test_where_a_redirect_leads_is_named(location: str, says: str) -> None:
    async def answering(peer: Peer, request: Request) -> None:
        port = (request.header("host") or "").rpartition(":")[2]
        await peer.answer(307, *([f"Location: {location.format(port=port)}"] if location else []))

    found = await only(each(answering))
    assert found.text.startswith("answered 307: ")
    assert says in found.text


async def test_a_path_that_is_not_there_is_named_with_those_that_are() -> None:
    async def answering(peer: Peer, request: Request) -> None:
        document: dict[str, object] = {"paths": {"/order": {"post": {}}, "/health": {"get": {}}}}
        is_document = path(request) == "/openapi.json"
        await peer.answer(200 if is_document else 404, body=json.dumps(document if is_document else {}).encode())

    found = await only(each(answering))
    assert found.text == (
        "answered 404: this path is not there; its OpenAPI document has POST /order; correct the path of the URL"
    )


@pytest.mark.parametrize("document", [b"[]", b"no JSON", b'{"paths": []}', b'{"paths": {"/a": 3}}'])
async def test_a_document_that_says_nothing_is_passed_over(document: bytes) -> None:
    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(200 if path(request) == "/openapi.json" else 404, body=document)

    assert "this path is not there; correct" in (await only(each(answering))).text


@pytest.mark.parametrize(("there", "url"), [("/orders/", "/orders"), ("/orders", "/orders/")])
async def test_a_trailing_slash_too_many_or_too_few_is_found(there: str, url: str) -> None:
    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(200 if path(request) == there else 404)

    found = await only(each(answering), "http://127.0.0.1:{port}" + url)
    assert "this path is not there, but http://127.0.0.1:" in found.text
    assert f"{'with' if there.endswith('/') else 'without'} a trailing slash" in found.text


async def test_a_slash_that_django_asks_for_is_found() -> None:
    page = b"<html><style>" + b"x" * 2000 + b"</style>You called this URL via POST, but the URL doesn't end in a slash"

    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(500, body=page)

    assert "the path wants a trailing slash; use http://" in (await only(each(answering))).text


async def test_a_method_that_is_not_allowed_is_named_with_those_that_are() -> None:
    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(405, "Allow: GET, HEAD")

    found = await only(each(answering))
    assert "this method is not allowed, and records are sent by POST: the path takes GET, HEAD" in found.text
    assert found.text.endswith("correct the path of the URL")


async def test_where_a_path_takes_the_other_method_the_setting_for_it_is_named() -> None:
    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(405, "Allow: GET, put")

    assert (await only(each(answering))).text.endswith('; set delivery.method = "PUT" (here --method PUT)')


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "it wants credentials; here --header"),
        (403, "it wants credentials"),
        (502, "a gateway answers (Bad Gateway), and does not reach the application behind it"),
        (421, "the normal record was not accepted"),
    ],
)
async def test_an_endpoint_that_is_no_use_is_asked_for_one_record_only(status: int, says: str) -> None:
    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(status, body=b"go away\x1b[31m")

    results, (found,) = await checked(each(answering))
    assert [one.step.name for one in results] == ["normal"]
    assert says in found.text
    assert found.answer_body == "go away?[31m"


@pytest.mark.parametrize("status", [403, 419, 422])
async def test_a_token_that_only_browsers_have_is_named(status: int) -> None:
    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(status, body=b"<h1>Forbidden</h1><p>CSRF verification failed. Request aborted.</p>")

    found = await only(each(answering))
    assert "it wants a CSRF token, which is for browsers; exempt this path (Django: @csrf_exempt)" in found.text
    assert found.answer_body == "Forbidden: CSRF verification failed. Request aborted."


TEXT = Sample(value=b"order 7", headers=())


async def test_a_media_type_that_would_be_accepted_is_found() -> None:
    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(200 if request.header("content-type") == "application/json" else 415)

    _, found = await checked(each(answering), own=[TEXT])
    normal = next(each for each in found if each.step == "normal")
    assert "it is accepted as application/json, and was sent as application/octet-stream" in normal.text
    assert 'delivery.content_type = "application/json"' in normal.text


async def test_a_media_type_that_nobody_wants_is_named() -> None:
    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(415)

    found = await only(each(answering), own=[TEXT])
    assert "it does not take application/octet-stream" in found.text
    assert "7 other steps had the same answer" in found.text


async def test_a_sample_that_is_none_of_theirs_is_one_problem_with_the_words_of_the_application() -> None:
    body = b'{"detail":[{"type":"missing","loc":["body","order"],"msg":"Field required","input":{"sample":true}}]}'

    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(422, body=body)

    found = await only(each(answering))
    assert "give records that it should accept with --records FILE; 7 other steps had the same answer" in found.text
    assert found.answer_body == body.decode()
    with_own = await only(each(answering), own=[TEXT])
    assert "the application's log should say more" in with_own.text


async def test_an_application_that_takes_no_batches_is_one_problem() -> None:
    async def answering(peer: Peer, request: Request) -> None:
        is_batch = (request.header("content-type") or "").startswith("application/cloudevents-batch+json")
        await peer.answer(422 if is_batch else 200)

    async with serving(each(answering), "http://127.0.0.1:{port}/", None, ClientTls()) as settings:
        _, (found,) = await check(changed(settings, batch=Batch(records_max=10)), [])
    assert "it takes one record in a request, and no batch; leave delivery.batch.records_max at 1" in found.text


async def test_a_record_of_the_file_is_named_by_its_line() -> None:
    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(422 if request.body == b"bad" else 200)

    _, found = await checked(each(answering), own=[TEXT, Sample(value=b"bad", headers=())])
    assert [one.step for one in found if one.level == "problem"] == ["record 2 of the file"]


async def test_another_cause_behind_the_first_is_still_said() -> None:
    async def answering(peer: Peer, request: Request) -> None:
        await peer.answer(500 if request.header("mps-tombstone") else 422)

    _, found = await checked(each(answering))
    assert [each.step for each in found] == ["normal", "tombstone"]


# Ports


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ours(authority: trustme.CA, tmp_path: Path) -> ClientTls:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return ClientTls(ca=str(tmp_path / "ca.pem"))


async def accepting(peer: Peer, request: Request) -> None:
    await peer.answer(200)


HTTPS = "https://127.0.0.1:{port}/orders"


async def test_http_on_a_tls_port_is_named(server_tls: ssl.SSLContext) -> None:
    _, (found,) = await checked(each(accepting), server_tls=server_tls)
    assert found.text.startswith("the port speaks TLS; write https://127.0.0.1:")


async def test_http_on_a_tls_port_that_answers_400_in_the_clear_is_named(server_tls: ssl.SSLContext) -> None:
    """Servers such as nginx and Go tell TLS from HTTP by the first byte of a connection."""

    def serve(listening: socket.socket) -> None:
        while True:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    if connection.recv(1, socket.MSG_PEEK) == b"\x16":
                        server_tls.wrap_socket(connection, server_side=True).close()
                    else:
                        connection.recv(65_536)
                        connection.sendall(b"HTTP/1.1 400 No\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhttps")
                        while connection.recv(65_536):
                            pass
                continue
            return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
            settings = rest_delivery(url, concurrency_max=8, timeout_s=2.0)
            _, found = await check(settings, [])
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert (found[0].step, found[0].answer_body) == ("normal", "https")
    assert f"answered 400: the port speaks TLS; write https{url[4:]}" in found[0].text


async def test_tls_on_a_plain_port_is_named(ours: ClientTls) -> None:
    async def script(peer: Peer) -> None:
        data = await peer.reader.read(4096)
        await peer.answer(200 if data.startswith(b"OPTIONS") else 400, "Connection: close")

    _, (found,) = await checked(script, HTTPS, tls=ours)
    assert found.text.startswith("the port speaks HTTP without TLS; write http://127.0.0.1:")


async def test_a_certificate_of_an_unknown_authority_is_named(server_tls: ssl.SSLContext) -> None:
    _, (found,) = await checked(each(accepting), HTTPS, server_tls=server_tls)
    assert "no trusted authority signed the endpoint's certificate" in found.text


async def test_a_client_certificate_that_is_missed_is_named(
    authority: trustme.CA, server_tls: ssl.SSLContext, ours: ClientTls
) -> None:
    authority.configure_trust(server_tls)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    _, (found,) = await checked(each(accepting), HTTPS, server_tls=server_tls, tls=ours)
    assert "it may want a client certificate (delivery.tls.cert)" in found.text


SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


async def test_a_server_of_http_2_alone_is_named() -> None:
    async def script(peer: Peer) -> None:
        if (await peer.reader.read(4096)).startswith(b"PRI * HTTP/2.0"):
            await peer.send(SETTINGS)

    _, (found,) = await checked(script)
    assert found.text.startswith("the port speaks HTTP/2 only; let the server speak HTTP/1.1 too")


async def test_a_port_that_speaks_redis_is_named() -> None:
    async def script(peer: Peer) -> None:
        """Redis hangs up on what looks like HTTP, without a word."""
        if (await peer.reader.read(4096)).startswith(b"PING"):
            await peer.send(b"+PONG\r\n")

    _, (found,) = await checked(script)
    assert found.text == "the port speaks Redis, not HTTP; correct the host and port of the URL"


async def test_a_port_that_never_says_a_word_has_no_name() -> None:
    async def script(peer: Peer) -> None:
        return

    _, (found,) = await checked(script)
    assert found.text.startswith("no answer: connection lost")


# Record headers


def echoing(*dropped: str) -> Script:
    """Return an application that answers with the headers it got, behind a server that drops some."""

    async def answering(peer: Peer, request: Request) -> None:
        got = {name: value for name, value in request.headers if not any(mark in name for mark in dropped)}
        await peer.answer(200, body=json.dumps(got).encode())

    return each(answering)


async def about_headers(script: Script, record_headers: Literal["combined", "separate"]) -> list[Advice]:
    async with serving(script, "http://127.0.0.1:{port}/", None, ClientTls()) as settings:
        _, found = await check(changed(settings, record_headers=record_headers), [])
    return [each for each in found if each.step == "headers"]


@pytest.mark.parametrize(
    ("dropped", "lost"),
    [(["_", "."], "ce_type, __TypeId__, my.header"), (["_"], "ce_type, __TypeId__"), (["."], "my.header")],
)
async def test_names_of_headers_that_are_dropped_on_the_way_are_found(dropped: list[str], lost: str) -> None:
    (headers,) = await about_headers(echoing(*dropped), "separate")
    assert headers.level == "problem"
    assert f"record headers {lost} do not arrive" in headers.text
    assert 'leave delivery.record_headers at "combined"' in headers.text
    assert await about_headers(echoing(*dropped), "combined") == []


@pytest.mark.parametrize("script", [echoing(), each(accepting)], ids=["all arrive", "nobody can tell"])
async def test_where_all_arrive_or_nobody_can_tell_nothing_is_said(script: Script) -> None:
    assert await about_headers(script, "separate") == []


async def test_a_record_that_the_url_cannot_be_filled_with_is_said_to_be_one() -> None:
    found = await only(each(accepting), "http://127.0.0.1:{port}/{{header:tenant}}")
    assert found.text.startswith("no request was sent: delivery.url cannot be filled")
