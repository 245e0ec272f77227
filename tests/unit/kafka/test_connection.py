"""Every error of the broker has a name."""

import asyncio

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import NotLeaderForPartitionError, UnknownError, for_code
from aiokafka.protocol.admin import ApiVersionRequest

from mpsd.errors import KafkaUnavailable
from mpsd.kafka.connection import asking


@pytest.mark.parametrize(
    ("code", "name"), [(87, "InvalidRecord"), (-1, "UnknownServerException"), (999, "BrokerError999")]
)
def test_an_error_that_the_library_does_not_know_is_named_and_behaves_as_before(code: int, name: str) -> None:
    error = for_code(code)
    assert issubclass(error, UnknownError)
    assert (error.errno, error.retriable) == (code, UnknownError.retriable)
    with pytest.raises(KafkaUnavailable, match=f"could not write: {name}"), asking("write"):
        raise error


def test_an_error_that_the_library_knows_stays_as_it_is() -> None:
    assert for_code(6) is NotLeaderForPartitionError


class ClosedWriter:
    """The end of a stream whose transport is closed, as uvloop has it."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    def close(self) -> None:
        pass


async def test_a_request_on_a_transport_that_has_just_closed_meets_a_lost_connection() -> None:
    connection = AIOKafkaConnection("127.0.0.1", 9092)
    connection._reader, connection._writer = asyncio.StreamReader(), ClosedWriter()
    connection._read_task = asyncio.create_task(asyncio.sleep(0))
    with pytest.raises(KafkaUnavailable, match="KafkaConnection"), asking("commit"):
        connection.send(ApiVersionRequest())
    assert not connection.connected()
