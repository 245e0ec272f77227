"""The checked frames of clients: a frame is accepted as a whole or not at all."""

from typing import NamedTuple

from google.protobuf.message import DecodeError

from mps.delivery.v1.delivery_pb2 import Credit, Extend, Open, Settle, SubscribeRequest
from mpsd.core.outcome import Outcome, Rejected, Retryable

CREDIT_RECORDS_MAX = 1_000_000
"""Records in one grant, and outstanding on one stream; what is granted beyond is not counted."""
CREDIT_BYTES_MAX = 1 << 32
"""Bytes in one grant, and outstanding on one stream: 4 GiB."""
SUBSCRIPTION_CHARS_MAX = 128
CLIENT_CHARS_MAX = 256
REASON_BYTES_MAX = 1024
DELAY_MS_MAX = 86_400_000
LEASE_MS_MAX = 3_600_000


class BadFrame(Exception):  # noqa: N818 - what was sent, as the contract names it
    """The client's fault.

    Attributes:
        field: path of what is wrong, such as `credit.records`.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class Settlement(NamedTuple):
    """The outcome of one delivery that was not acknowledged."""

    kind: str
    delivery_id: int
    outcome: Outcome


def parsed(data: bytes) -> SubscribeRequest:
    """Return the parsed frame.

    Raises:
        BadFrame: it is none, or an empty one.
    """
    try:
        request = SubscribeRequest.FromString(data)
    except DecodeError as error:
        raise BadFrame("frame", "not a SubscribeRequest of mps.delivery.v1") from error
    if request.WhichOneof("frame") is None:
        raise BadFrame("frame", "has no field that this version knows")
    return request


def opening(data: bytes) -> Open:
    """Return the first frame, checked.

    Raises:
        BadFrame: as it says.
    """
    request = parsed(data)
    if request.WhichOneof("frame") != "open":
        raise BadFrame(f"{request.WhichOneof('frame')}", "the first frame must be `open`")
    if not 1 <= len(request.open.subscription) <= SUBSCRIPTION_CHARS_MAX:
        raise BadFrame("open.subscription", f"must have 1 to {SUBSCRIPTION_CHARS_MAX} characters")
    if len(request.open.client) > CLIENT_CHARS_MAX:
        raise BadFrame("open.client", f"must have at most {CLIENT_CHARS_MAX} characters")
    check_credit(request.open.credit, "open.credit")
    return request.open


def check_credit(credit: Credit, field: str = "credit") -> None:
    """Check the ranges of a frame.

    Raises:
        BadFrame: it is out of them.
    """
    if credit.records > CREDIT_RECORDS_MAX:
        raise BadFrame(f"{field}.records", f"{credit.records} is more than {CREDIT_RECORDS_MAX}")
    if credit.bytes > CREDIT_BYTES_MAX:
        raise BadFrame(f"{field}.bytes", f"{credit.bytes} is more than {CREDIT_BYTES_MAX}")


def settlements(settle: Settle) -> list[Settlement]:
    """Return the settlements that are no acks, as outcomes.

    Raises:
        BadFrame: one of them is out of range; none of the frame counts then.
    """
    found = []
    for index, retry in enumerate(settle.retries):
        if retry.delay_ms > DELAY_MS_MAX:
            raise BadFrame(f"settle.retries[{index}].delay_ms", f"{retry.delay_ms} is more than {DELAY_MS_MAX}")
        wait_s = retry.delay_ms / 1000 or None
        outcome = Retryable(code="verdict_retry", reason=_reason("asked to retry", retry.reason), retry_after_s=wait_s)
        found.append(Settlement("retries", retry.delivery_id, outcome))
    for dead_letter in settle.dead_letters:
        rejected = Rejected(code="verdict_dead_letter", reason=_reason("rejected", dead_letter.reason))
        found.append(Settlement("dead_letters", dead_letter.delivery_id, rejected))
    return found


def check_extend(extend: Extend) -> None:
    """Check the ranges of a frame.

    Raises:
        BadFrame: it is out of them.
    """
    if extend.lease_ms > LEASE_MS_MAX:
        raise BadFrame("extend.lease_ms", f"{extend.lease_ms} is more than {LEASE_MS_MAX}")


def printable(text: str) -> str:
    """Return a text for a log line, without characters that move the cursor."""
    return "".join([character if character.isprintable() else "?" for character in text])


def _reason(beginning: str, given: str) -> str:
    cut = given.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
    return f"{beginning}: {printable(cut)}" if cut else beginning
