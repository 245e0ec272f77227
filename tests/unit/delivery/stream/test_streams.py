"""Streams that wait for bytes; the conformance suite tests the rest over the network."""

from mps.delivery.v1.delivery_pb2 import Credit, Open
from mpsd.config import Stream, StreamDelivery
from mpsd.core.delivery import Delivery
from mpsd.core.idempotency import IdempotencyKeys
from mpsd.core.outcome import Outcome
from mpsd.delivery.stream.session import Client
from mpsd.delivery.stream.streams import Streams
from mpsd.delivery.stream.wire import RecordWriter
from tests.conformance.deliveries import delivery

DELIVERY = StreamDelivery(protocol="stream", concurrency_max=1_000)


async def test_what_has_to_wait_for_bytes_does_not_wait_behind_a_stream_that_is_stuck() -> None:
    """The record went to the stream with the most credit, and nowhere until its lease was over."""
    settled: list[tuple[Delivery, Outcome]] = []
    streams = Streams(
        DELIVERY,
        Stream(),
        lambda: None,
        lambda *settlement: settled.append(settlement),
        lambda: True,
        RecordWriter(IdempotencyKeys()),
    )
    stuck, narrow, last = (
        streams.open(Open(subscription="billing", credit=credit), Client("", ""), [])
        for credit in (Credit(records=1_000), Credit(records=1, bytes=10), Credit(records=10, bytes=10))
    )
    stuck.stuck()
    streams.moved(stuck)
    streams.assign([delivery(offset=offset, value=bytes(100)) for offset in range(5)])
    assert [len(session.unsettled) for session in (stuck, narrow, last)] == [0, 1, 4]
    streams.stop()
