"""Findings of `mpsd --check` and `mpsctl doctor` about endpoints, a silent broker and tokens files."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from mpsd.admin.daemon import Finding
from mpsd.config import Config, Subscription, load, validate
from mpsd.errors import ConfigError
from mpsd.service import check
from mpsd.service.check import check_endpoint
from mpsd.service.daemon import Daemon

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


SILENT = """
[kafka]
bootstrap_servers = ["127.0.0.1:{broker}"]

[[subscriptions]]
name = "billing"
topics = ["orders"]
group = "billing"

[subscriptions.delivery]
protocol = "rest"
url = "http://127.0.0.1:{endpoint}/orders"
"""


async def test_a_silent_broker_is_a_finding_within_the_time_and_hides_no_other(tmp_path: Path) -> None:
    taken: list[asyncio.StreamWriter] = []
    async with (
        await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0) as silent,
        await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0) as endpoint,
    ):
        broker_port, port = (each.sockets[0].getsockname()[1] for each in (silent, endpoint))
        file = tmp_path / "mps.toml"
        file.write_text(SILENT.format(broker=broker_port, endpoint=port))
        findings = await check.check(load(file, {}), within_s=0.5)
        for writer in taken:
            writer.close()
    kafka = [each for each in findings if each.about == "kafka"]
    assert [(each.ok, each.code, "no answer in time" in each.text) for each in kafka] == [
        (False, "kafka.unavailable", True)
    ]
    assert any(each.about == "billing" and each.ok and "takes connections" in each.text for each in findings)


TYPO = """
[[tokens]]
name = "app"
role = "consumer"
subscriptions = ["biling"]
token = "consumer-01234567"
"""


def configured(**tables: Any) -> Config:
    subscription = {"name": "billing", "topics": ["orders"], "group": "billing", "delivery": {"protocol": "pull"}}
    kafka = {"bootstrap_servers": ["127.0.0.1:1"]}
    return Config.model_validate({"kafka": kafka, "subscriptions": [subscription], **tables})


@pytest.mark.parametrize("table", ["admin", "http", "stream"])
def test_a_token_of_an_unknown_subscription_is_an_error_at_the_start_that_names_it(tmp_path: Path, table: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(TYPO)
    config = configured(**{table: {"tokens_file": str(path)}})
    said = f'{table}.tokens_file: {path}: tokens[0].subscriptions[0]: "biling" of "app" is no subscription; there are billing'
    with pytest.raises(ConfigError) as caught:
        Daemon(config, lambda: 0)
    assert str(caught.value) == said
    (finding,) = check.token_findings(config)
    assert (finding.ok, finding.works, f"{finding.about}: {finding.text}") == (False, False, said)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(TYPO)
    config = configured(admin={"tokens_file": str(path)}, http={"tokens_file": str(path)})
    with pytest.raises(ConfigError) as caught:
        check.check_tokens(config)
    assert [problem.path for problem in caught.value.problems] == ["admin.tokens_file", "http.tokens_file"]


def test_files_that_are_well_are_no_finding(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(TYPO.replace("biling", "billing"))
    assert check.token_findings(configured(http={"tokens_file": str(path)})) == []
    check.check_tokens(configured())
