"""Names of leases: whose they are can be read, and that they are ours can be proven, without remembering any."""

import hmac
import secrets
from hashlib import blake2s

PROOF_BYTES = 10
"""Eighty bits: nobody guesses another caller's lease, whatever the rate of requests."""


def holder(lease_id: str) -> str:
    """The instance that a lease names; whatever stands there if it is none."""
    return lease_id.partition(".")[0]


class LeaseIds:
    """Issues `<instance>.<number>.<proof>`; a delivery of it is `<lease>.<place>`.

    The proof is keyed by a secret of this process and the subscription: a lease of another subscription, of the process
    that ran here before, or one that was made up is not ours.
    """

    def __init__(self, subscription: str, instance: str) -> None:
        self.instance = instance
        self._key = blake2s(subscription.encode(), key=secrets.token_bytes(32)).digest()
        self._issued = 0

    def issue(self) -> str:
        self._issued += 1
        number = f"{self._issued:x}"
        return f"{self.instance}.{number}.{self._proof(number)}"

    def is_ours(self, lease_id: str) -> bool:
        """Whether this process has issued it."""
        instance, _, rest = lease_id.partition(".")
        number, _, proof = rest.partition(".")
        return instance == self.instance and hmac.compare_digest(proof.encode(), self._proof(number).encode())

    def _proof(self, number: str) -> str:
        return blake2s(number.encode(), key=self._key, digest_size=PROOF_BYTES).hexdigest()
