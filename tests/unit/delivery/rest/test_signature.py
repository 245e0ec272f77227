"""Signatures that any verifier of Standard Webhooks accepts."""

import hmac
from base64 import b64decode, b64encode

from mpsd.delivery.rest.signature import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def of(lines: bytes) -> dict[str, str]:
    return dict(line.split(": ", maxsplit=1) for line in lines.decode().split("\r\n") if line)


def test_a_known_signature() -> None:
    """Source: the example of the Standard Webhooks libraries."""
    sent = of(Signer([SECRET]).headers(b"msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330))
    assert sent == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_both_live_secrets_sign() -> None:
    other = "whsec_" + b64encode(b"o" * 32).decode()
    sent = of(Signer([SECRET, other]).headers(b"id", b"body", 7))
    first, second = sent["webhook-signature"].split(" ")
    for signature, secret in ((first, SECRET), (second, other)):
        key = b64decode(secret.removeprefix("whsec_"))
        assert signature == "v1," + b64encode(hmac.digest(key, b"id.7.body", "sha256")).decode()


def test_the_identity_holds_no_dot_that_could_shift_the_signed_parts() -> None:
    sent = of(Signer([SECRET]).headers(b"orders.v1/3/7", b"", 7))
    assert sent["webhook-id"] == "orders%2Ev1/3/7"
