"""Certificates for all parties of a test."""

import ssl
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key


class Certificates:
    """An authority with files for a broker, an application and a client, and another authority."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.server = self.authority.issue_cert("127.0.0.1")
        client = self.authority.issue_cert("mps@example.org")
        self.ca, self.other_ca = directory / "ca.pem", directory / "other-ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        trustme.CA().cert_pem.write_to_path(str(self.other_ca))
        self.cert, self.key = directory / "client.pem", directory / "client.key"
        client.cert_chain_pems[0].write_to_path(str(self.cert))
        client.private_key_pem.write_to_path(str(self.key))
        self.keystore = directory / "broker.pem"
        key = load_pem_private_key(self.server.private_key_pem.bytes(), None)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.keystore.write_bytes(pem + b"".join(blob.bytes() for blob in self.server.cert_chain_pems))

    def server_context(self) -> ssl.SSLContext:
        """Return the context of a server that also wants the client's certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ca))
        context.verify_mode = ssl.CERT_REQUIRED
        self.server.configure_cert(context)
        return context

    def client(self) -> dict[str, str]:
        return {"ca": str(self.ca), "cert": str(self.cert), "key": str(self.key)}
