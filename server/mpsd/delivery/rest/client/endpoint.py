"""A URL, taken apart once."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

from mpsd.config import Secret
from mpsd.config.values import split_user


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The server and the target that a URL names.

    Attributes:
        host: a name or an address, IPv6 without brackets.
        authority: value of the `Host` header.
        target: path and query for the request line.
    """

    host: str
    port: int
    authority: str
    target: str
    is_tls: bool

    @property
    def origin(self) -> tuple[bool, str, int]:
        """Scheme, host and port: equal for URLs of one server."""
        return self.is_tls, self.host, self.port

    @classmethod
    def of(cls, given: str | Secret) -> Self:
        """Read a URL; leave out the user name and password of a secret one.

        Raises:
            ValueError: nothing can be posted to the URL, or it holds a user name and is no secret.
        """
        url = split_user(given.reveal())[0] if isinstance(given, Secret) else given
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
