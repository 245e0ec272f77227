"""Frames of the contract, made of records and verdicts, and read into them."""

from collections.abc import Container, Iterator, Sequence

from mps_client._stubs import delivery_pb2 as pb
from mps_client.errors import BadFrameError
from mps_client.record import OCTET_STREAM, Holder, Record
from mps_client.verdicts import Retry, Verdict, clipped

IDS_MAX = 10_000
"""Largest number of ids in one frame, which are at most 100 KiB."""
REASONS_MAX = 1_000
"""Largest number of reasons in one frame, which are at most 1 MiB; a gRPC server accepts 4 MiB by default."""

Rejection = tuple[int, Verdict]


def open_frame(subscription: str, client: str, credit: int, credit_bytes: int) -> pb.SubscribeRequest:
    """Return the first frame of a stream."""
    granted = pb.Credit(records=credit, bytes=credit_bytes)
    return pb.SubscribeRequest(open=pb.Open(subscription=subscription, client=client, credit=granted))


def credit_frame(credit: int, credit_bytes: int) -> pb.SubscribeRequest:
    return pb.SubscribeRequest(credit=pb.Credit(records=credit, bytes=credit_bytes))


def settle_frames(acks: Sequence[int], rejections: Sequence[Rejection]) -> Iterator[pb.SubscribeRequest]:
    """Yield the frames that report verdicts, nearly always one."""
    while acks or rejections:
        now, rejections = rejections[:REASONS_MAX], rejections[REASONS_MAX:]
        settle = pb.Settle(acks=acks[:IDS_MAX])
        acks = acks[IDS_MAX:]
        for delivery_id, verdict in now:
            reason = clipped(verdict.reason)
            if isinstance(verdict, Retry):
                delay_ms = round(verdict.after_s * 1_000)
                settle.retries.add(delivery_id=delivery_id, delay_ms=delay_ms, reason=reason)
            else:
                settle.dead_letters.add(delivery_id=delivery_id, reason=reason)
        yield pb.SubscribeRequest(settle=settle)


def extend_frames(delivery_ids: Sequence[int]) -> Iterator[pb.SubscribeRequest]:
    for start in range(0, len(delivery_ids), IDS_MAX):
        yield pb.SubscribeRequest(extend=pb.Extend(delivery_ids=delivery_ids[start : start + IDS_MAX]))


def decoded(records: pb.Records, unsettled: Container[int], holder: Holder) -> dict[int, Record]:
    """Return the records of a frame by their ids, in the order of the frame.

    Raises:
        BadFrameError: a delivery has no id, or the id of another one.
    """
    arrived: dict[int, Record] = {}
    for given in records.records:
        delivery_id = given.delivery_id
        if not delivery_id or delivery_id in unsettled or delivery_id in arrived:
            raise BadFrameError(
                f"a delivery of {given.topic}/{given.partition}/{given.offset} has the id {delivery_id}"
            )
        key = given.key or (b"" if given.HasField("key") else None)
        value = given.value or (b"" if given.HasField("value") else None)
        size_bytes = len(key or b"") + len(value or b"")
        headers: tuple[tuple[str, bytes | None], ...] = ()
        if given.headers:
            headers = tuple((each.name, each.value if each.HasField("value") else None) for each in given.headers)
            size_bytes += sum(len(name.encode()) + len(content or b"") for name, content in headers)
        timestamp_ms = given.timestamp_ms
        arrived[delivery_id] = Record(
            given.topic,
            given.partition,
            given.offset,
            key,
            value,
            headers,
            timestamp_ms if timestamp_ms >= 0 else None,
            given.attempt,
            given.epoch,
            given.replay,
            delivery_id,
            size_bytes,
            holder,
            given.content_type or OCTET_STREAM,
            given.idempotency_key,
        )
    return arrived
