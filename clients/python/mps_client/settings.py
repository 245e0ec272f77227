"""The checked settings of a subscription."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

CREDIT_MAX = 1_000_000
"""Largest credit that the contract allows."""
CREDIT_BYTES = 64 << 20
"""Default credit in bytes of each daemon, which keeps workers busy and fits into an application's memory."""

Token = str | Callable[[], str]
Tls = bool | grpc.ChannelCredentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments of `Subscription`."""

    subscription: str
    addresses: tuple[str, ...]
    concurrency: int
    credit: int
    credit_bytes: int
    client: str
    tls: grpc.ChannelCredentials | None
    token: Token | None
    drain_timeout_s: float

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call; a token that is a function is called each time."""
        if self.token is None:
            return ()
        token = self.token if isinstance(self.token, str) else self.token()
        return (("authorization", f"Bearer {token}"),)


def checked(
    subscription: str,
    addresses: str | Sequence[str],
    *,
    concurrency: int,
    credit: int | None,
    credit_bytes: int,
    client: str | None,
    tls: Tls | None,
    token: Token | None,
    drain_timeout_s: float,
) -> Settings:
    """Return the checked settings.

    Raises:
        ValueError: one of them is out of its range.
    """
    given = (addresses,) if isinstance(addresses, str) else tuple(addresses)
    credit = min(2 * concurrency, CREDIT_MAX) if credit is None else credit
    ranges = [
        ("the length of subscription", len(subscription), 1, 128),
        ("the number of addresses", len(given), 1, 256),
        ("concurrency", concurrency, 1, CREDIT_MAX),
        ("credit", credit, 1, CREDIT_MAX),
        ("credit_bytes", credit_bytes, 0, 1 << 32),
        ("drain_timeout_s", drain_timeout_s, 0.0, 86_400.0),
    ]
    for name, value, least, most in ranges:
        if not least <= value <= most:
            raise ValueError(f"{name} is {value}, and must be from {least} to {most}")
    return Settings(
        subscription=subscription,
        addresses=given,
        concurrency=concurrency,
        credit=credit,
        credit_bytes=credit_bytes,
        client=(socket.gethostname() if client is None else client)[:256],
        tls=(grpc.ssl_channel_credentials() if tls is True else tls) or None,
        token=token,
        drain_timeout_s=drain_timeout_s,
    )
