"""A TLS context that can be exchanged while those who were given it use it."""

import ssl
from typing import Any, Self

from typing_extensions import override


class LiveContext(ssl.SSLContext):
    """A stand-in for the context in use: each new connection is wrapped by that one, as it is then.

    OpenSSL can add to a context, but not take an authority out of it, and a context whose new certificate loads and whose
    key does not is broken. So a context is never changed here, only exchanged as a whole. Connections that stand go on.
    """

    _in_use: ssl.SSLContext

    def __new__(cls, context: ssl.SSLContext) -> Self:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made._in_use = context
        return made

    def __init__(self, context: ssl.SSLContext) -> None:
        """Args: context: of the first connections."""

    def exchange(self, context: ssl.SSLContext) -> None:
        """Wrap connections by another context from now on."""
        self._in_use = context

    @override
    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self._in_use.wrap_bio(*args, **kwargs)

    @override
    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return self._in_use.wrap_socket(*args, **kwargs)
