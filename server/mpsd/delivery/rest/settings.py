"""What the REST adapter has to know; secrets stand here in the clear, so none of them is shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from mpsd.core.content_type import AUTO
from mpsd.core.status_table import Meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """Files in PEM form; the endpoint's certificate is verified in any case.

    Attributes:
        ca: authorities to trust instead of the system's.
        cert: client certificate.
        key: its private key; None if it stands in the file of `cert`.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """Several records in one request.

    Attributes:
        records_max: of one request, 2 or more.
        bytes_max: keys, values and headers of one request; a record that is larger goes alone.
        dead_letter_stops_key: a dead-lettered record withdraws the later ones of its key.
    """

    records_max: int
    bytes_max: int
    dead_letter_stops_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RestSettings:
    """One endpoint of one subscription; ranges and reasons of the defaults are the configuration's.

    Attributes:
        url: `{topic}` and `{header:NAME}` in its path or query are filled by each record.
        concurrency_max: requests in flight.
        timeout_s: from the request's first byte to the answer's last.
        connect_timeout_s: name resolution, connection and TLS handshake together.
        content_type: `auto` for each record's own, or the media type of every record.
        record_headers: all in `Mps-Headers`, or each as `Mps-Header-<name>`.
        headers: added to every request; `Authorization` comes from `basic` or `bearer`.
        idempotency_header: record header that the idempotency key is taken from; empty: it is the record's id.
        basic: user name and password.
        webhook_secrets: at most two, each `whsec_` and base64.
        batch: None: each record has a request of its own.
        status: answers that mean something else than the contract's table says.
        reads_body: an answer without `Mps-Reason` has its reason taken from its body.
    """

    subscription: str
    url: str = field(repr=False)
    method: Literal["POST", "PUT"] = "POST"
    concurrency_max: int = 64
    timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    connection_age_max_s: float = 60.0
    connection_idle_max_s: float = 30.0
    request_header_bytes_max: int = 32_768
    response_header_bytes_max: int = 65_536
    response_body_bytes_max: int = 65_536
    retry_after_max_s: float = 300.0
    body: Literal["value", "cloudevents-binary"] = "value"
    content_type: str = AUTO
    record_headers: Literal["combined", "separate"] = "combined"
    idempotency_header: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    tls: ClientTls = ClientTls()
    batch: BatchSettings | None = None
    status: Mapping[int, Meaning] = field(default_factory=dict)
    reads_body: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a URL leads.

    Attributes:
        host: a name or an address, IPv6 without brackets.
        authority: what the `Host` header says.
        target: path and query as they stand in the request line.
    """

    host: str
    port: int
    authority: str
    target: str
    is_tls: bool

    @property
    def origin(self) -> tuple[bool, str, int]:
        """Return what tells one server from another."""
        return self.is_tls, self.host, self.port

    @classmethod
    def of(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            ValueError: it is none that can be posted to, or it holds a user name.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ValueError("must be http://host or https://host, with port and path if need be, without user name")
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise ValueError("has a blank, a control character or one beyond ASCII")
        is_tls = parts.scheme == "https"
        host = parts.hostname
        literal = f"[{host}]" if ":" in host else host
        return cls(
            host=unquote(host) if ":" in host else host,
            port=parts.port or (443 if is_tls else 80),
            authority=literal if parts.port is None else f"{literal}:{parts.port}",
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            is_tls=is_tls,
        )
