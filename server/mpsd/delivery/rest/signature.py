"""Standard Webhooks: proof that a request comes from here, was not altered, and is not an old one sent again.

Source: Standard Webhooks 1.0, "Signature scheme" and "Webhook headers".
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Self

from mpsd.config import RestDelivery, reveal


class Signer:
    """A signer with every live secret, so that a receiver may know either of two while they are replaced.

    Args:
        secrets: each `whsec_` and base64.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [b64decode(secret.removeprefix("whsec_"), validate=True) for secret in secrets]

    @classmethod
    def of(cls, delivery: RestDelivery) -> Self | None:
        """Return the signer of a delivery; None if it has no secrets."""
        return cls([reveal(secret) for secret in delivery.webhook_secrets]) if delivery.webhook_secrets else None

    def headers(self, identity: bytes, body: bytes, now_s: int) -> bytes:
        """Return the three header lines.

        Args:
            identity: the same for every attempt; dots are percent-encoded, because the scheme forbids them in it, and so
                are percent signs, so that no two become one.
            now_s: the wall clock, seconds since the epoch.
        """
        webhook_id = identity.replace(b"%", b"%25").replace(b".", b"%2E")
        signed = b"%b.%d.%b" % (webhook_id, now_s, body)
        signatures = b" ".join([b"v1," + b64encode(hmac.digest(key, signed, "sha256")) for key in self._keys])
        return b"webhook-id: %b\r\nwebhook-timestamp: %d\r\nwebhook-signature: %b\r\n" % (webhook_id, now_s, signatures)
