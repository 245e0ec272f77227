"""Asking the daemon and the application something over HTTP, without holding up the loop."""

import asyncio
import urllib.error
import urllib.request
from urllib.parse import urlsplit

_TIMEOUT_S = 3.0


async def get(url: str) -> str | None:
    """Return the body of a 200 answer to a GET; None for any other answer, and if there is none."""
    return await asyncio.to_thread(_ask, url, None)


async def post(url: str) -> str | None:
    """Return the body of a 200 answer to a POST without a body; None for any other answer, and if there is none."""
    return await asyncio.to_thread(_ask, url, b"")


async def listens(url: str) -> bool:
    """Return True if the port of the URL takes connections."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True


def _ask(url: str, body: bytes | None) -> str | None:
    request = urllib.request.Request(url, data=body)  # noqa: S310 - the demo's own addresses
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy of the environment
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None
