"""What `--check` says of an endpoint: it connects, shakes hands where the URL is https, and never sends a request."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from mpsd.admin.daemon import Finding
from mpsd.config import Subscription, validate
from mpsd.service import check
from mpsd.service.check import check_endpoint

Handler = Callable[[socket.socket], None]
"""Serves one connection, blocking: OpenSSL's own alerts are sent then, as by most servers."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return {"ca": str(tmp_path / "ca.pem")}


@contextmanager
def serving(handler: Handler) -> Iterator[int]:
    """One connection on a free port; an error of the handler ends it, as a server's does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)  # only where nobody comes

        def serve() -> None:
            with suppress(OSError):  # an SSLError is one, too
                connection, _ = listening.accept()
                with connection:
                    handler(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join()


def speaking_tls(context: ssl.SSLContext, received: list[bytes]) -> Handler:
    """Shake hands, and keep what is sent until the other side hangs up."""

    def handler(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=True) as session:
            while data := session.recv(1024):
                received.append(data)

    return handler


def server_context(
    authority: trustme.CA,
    name: str = "127.0.0.1",
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, not_before=not_before, not_after=not_after).configure_cert(context)
    return context


def subscription(url: str, tls: dict[str, str] | None = None) -> Subscription:
    delivery = {"protocol": "rest", "url": url, **({"tls": tls} if tls is not None else {})}
    (only,) = validate(
        {
            "kafka": {"bootstrap_servers": ["127.0.0.1:9092"]},
            "subscriptions": [{"name": "billing", "topics": ["orders"], "group": "billing", "delivery": delivery}],
        }
    ).subscriptions
    return only


def found(handler: Handler, tls: dict[str, str] | None, scheme: str = "https") -> Finding:
    with serving(handler) as port:
        return asyncio.run(check_endpoint(subscription(f"{scheme}://127.0.0.1:{port}/orders", tls)))


def test_a_good_endpoint_says_until_when_and_is_sent_nothing(authority: trustme.CA, tls: dict[str, str]) -> None:
    received: list[bytes] = []
    said = found(speaking_tls(server_context(authority), received), tls)
    assert said.ok, said.text
    assert "TLSv1.3, certificate valid until 3000-01-01" in said.text
    assert received == []


def test_a_plain_endpoint_is_connected_to_alone() -> None:
    received: list[bytes] = []
    said = found(lambda connection: received.append(connection.recv(1024)), None, "http")
    assert (said.ok, received) == (True, [b""])


def test_a_certificate_that_expires_soon_is_a_warning(authority: trustme.CA, tls: dict[str, str]) -> None:
    soon = datetime.now(UTC) + timedelta(days=2, hours=1)
    said = found(speaking_tls(server_context(authority, not_after=soon), []), tls)
    assert (said.ok, said.works) == (False, True)
    assert "2 day(s) from now" in said.text
    assert "renew" in said.advice


@pytest.mark.parametrize(
    ("name", "from_year", "to_year", "is_trusted", "says"),
    [
        ("127.0.0.1", 2020, 2999, False, "no trusted authority signed the endpoint's certificate"),
        ("billing.example", 2020, 2999, True, "of another name (IP address mismatch"),
        ("127.0.0.1", 2020, 2021, True, "has expired: renew it"),
        ("127.0.0.1", 2998, 2999, True, "is not valid yet"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_named(
    authority: trustme.CA, tls: dict[str, str], name: str, from_year: int, to_year: int, is_trusted: bool, says: str
) -> None:
    context = server_context(
        authority, name, datetime(from_year, 1, 1, tzinfo=UTC), datetime(to_year, 1, 1, tzinfo=UTC)
    )
    said = found(speaking_tls(context, []), tls if is_trusted else None)
    assert not said.ok
    assert says in said.text
    assert said.advice


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("is_given", [False, True])
def test_a_client_certificate_that_is_wanted_or_refused_is_named(
    authority: trustme.CA, tls: dict[str, str], tmp_path: Path, version: ssl.TLSVersion, is_given: bool
) -> None:
    context = server_context(authority)
    authority.configure_trust(context)
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, version
    if is_given:
        stranger = trustme.CA().issue_cert("stranger.example")
        stranger.private_key_and_cert_chain_pem.write_to_path(tmp_path / "mine.pem")
        tls = {**tls, "cert": str(tmp_path / "mine.pem"), "key": str(tmp_path / "mine.pem")}
    said = found(speaking_tls(context, []), tls)
    assert not said.ok
    assert ("refuses the client certificate" if is_given else "wants a client certificate") in said.text


@pytest.mark.parametrize("banner", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n", b"SSH-2.0-x\r\n"])
def test_a_port_that_speaks_no_tls_is_named(tls: dict[str, str], banner: bytes) -> None:
    def handler(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(banner)
        connection.recv(1024)

    assert "does not speak TLS: the URL should perhaps begin with http://" in found(handler, tls).text


def test_a_handshake_that_is_broken_off_is_named(tls: dict[str, str]) -> None:
    said = found(lambda connection: connection.close(), tls)
    assert "ended the handshake without a reason; it may want a client certificate" in said.text


def test_a_handshake_that_does_not_end_is_waited_for_a_while_only(
    tls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "CONNECT_TIMEOUT_S", 0.05)

    def silent(connection: socket.socket) -> None:
        while connection.recv(1024):
            pass

    said = found(silent, tls)
    assert "no connection and TLS handshake within 0.05 s; records would wait" in said.text


def test_nobody_at_home_is_named(tls: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    said = asyncio.run(check_endpoint(subscription(f"https://127.0.0.1:{port}/", tls)))
    assert not said.ok
    assert "records would wait" in said.text
    assert "start the application" in said.advice
