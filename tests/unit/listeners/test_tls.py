"""Certificates: those that work, and what is said of those that do not."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from mpsd.config.daemon import ListenerTls
from mpsd.errors import ConfigError
from mpsd.listeners.tls import server_context
from mpsd.tls import LiveContext


class Pems:
    """A server's files, an authority for clients, and a client's context."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        server = self.authority.issue_cert("127.0.0.1")
        self.cert, self.key, self.ca = (str(directory / name) for name in ("cert", "key", "ca"))
        Path(self.cert).write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
        server.private_key_pem.write_to_path(self.key)
        self.authority.cert_pem.write_to_path(self.ca)

    def listener_tls(self, cert: str = "", key: str = "", client_ca: str | None = None) -> ListenerTls:
        return ListenerTls.model_construct(cert=cert or self.cert, key=key or self.key, client_ca=client_ca)

    def client(self, *, with_certificate: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if with_certificate:
            self.authority.issue_cert("client@example.org").configure_cert(context)
        return context


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    return Pems(tmp_path_factory.mktemp("pems"))


async def greet(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    listener = socket.create_server(("127.0.0.1", 0))
    async with await asyncio.start_server(answer, sock=listener, ssl=server):
        reader, writer = await asyncio.open_connection(*listener.getsockname(), ssl=client)
        try:
            return await reader.read()
        except (ssl.SSLError, ConnectionError):  # or the end of the stream, as TLS 1.3 has it
            return b""
        finally:
            writer.transport.abort()


async def test_a_client_that_trusts_the_authority_connects(pems: Pems) -> None:
    assert await greet(server_context("http", pems.listener_tls()), pems.client(with_certificate=False)) == b"hello"


async def test_with_client_ca_a_certificate_is_needed(pems: Pems) -> None:
    server = server_context("http", pems.listener_tls(client_ca=pems.ca))
    assert await greet(server, pems.client(with_certificate=True)) == b"hello"
    assert await greet(server, pems.client(with_certificate=False)) == b""


def test_old_protocols_are_refused(pems: Pems) -> None:
    assert server_context("http", pems.listener_tls()).minimum_version == ssl.TLSVersion.TLSv1_2


def test_files_that_do_not_belong_together(pems: Pems, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(other)
    with pytest.raises(ConfigError, match=r"^http\.tls: certificate .* they do not belong together"):
        server_context("http", pems.listener_tls(key=other))


def test_a_file_that_is_no_pem(pems: Pems, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(ConfigError, match="not in PEM format"):
        server_context("http", pems.listener_tls(cert=str(tmp_path / "junk")))
    with pytest.raises(ConfigError, match=r"^http\.tls\.client_ca: .*: not in PEM format"):
        server_context("http", pems.listener_tls(client_ca=str(tmp_path / "junk")))


def test_a_file_that_went_away(pems: Pems, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        server_context("http", pems.listener_tls(cert=str(tmp_path / "nowhere")))


def test_an_encrypted_key_is_refused_without_asking_anybody(pems: Pems, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted"
    key = serialization.load_pem_private_key(Path(pems.key).read_bytes(), None)
    secrecy = serialization.BestAvailableEncryption(b"password")
    encrypted.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secrecy))
    with pytest.raises(ConfigError, match="has nobody to ask for its password"):
        server_context("http", pems.listener_tls(key=str(encrypted)))


async def test_a_context_is_exchanged_under_a_listener(pems: Pems, tmp_path: Path) -> None:
    """The certificate, and the authorities of clients: an authority that is gone is not believed any more."""
    live = LiveContext(server_context("http", pems.listener_tls(client_ca=pems.ca)))
    other = Pems(tmp_path)
    with_old, with_new = (each.client(with_certificate=True) for each in (pems, other))
    assert await greet(live, with_old) == b"hello"
    live.exchange(server_context("http", other.listener_tls(client_ca=other.ca)))
    assert await greet(live, with_new) == b"hello"
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(live, with_old)
    believes_server = ssl.create_default_context(cafile=other.ca)
    pems.authority.issue_cert("client@example.org").configure_cert(believes_server)
    assert await greet(live, believes_server) == b""


async def test_a_context_is_exchanged_under_a_client(pems: Pems, tmp_path: Path) -> None:
    server, other = server_context("http", pems.listener_tls()), Pems(tmp_path)
    live = LiveContext(other.client(with_certificate=False))
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(server, live)
    live.exchange(pems.client(with_certificate=False))
    assert await greet(server, live) == b"hello"


def test_a_context_is_exchanged_under_a_blocking_client(pems: Pems) -> None:
    live = LiveContext(pems.client(with_certificate=False))
    left, right = socket.socketpair()
    with left, right, live.wrap_socket(left, server_hostname="127.0.0.1", do_handshake_on_connect=False) as wrapped:
        assert wrapped.context.verify_mode == ssl.CERT_REQUIRED
