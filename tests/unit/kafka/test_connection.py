"""Every error of the broker has a name."""

import pytest
from aiokafka.errors import NotLeaderForPartitionError, UnknownError, for_code

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
