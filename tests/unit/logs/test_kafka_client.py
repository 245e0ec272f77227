"""Log lines of the Kafka client library, translated."""

import logging
import sys

import pytest

from mpsd.logs.writer import translated


def line(message: str, *args: object, level: int = logging.ERROR, name: str = "aiokafka.client") -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, message, args, None)


def test_lines_of_others_stay_as_they_are() -> None:
    record = line("no broker", name="mpsd.group")
    assert translated(record) is record


def test_a_request_that_failed_is_a_warning_and_says_what_happens_next() -> None:
    found = translated(line("Failed fetch messages from %s: %s", 1, "[Error 7] RequestTimedOutError"))
    assert found is not None
    assert (found.levelname, vars(found)["code"]) == ("WARNING", "kafka.client")
    assert found.getMessage() == (
        "the Kafka client reports: Failed fetch messages from 1: [Error 7] RequestTimedOutError; it retries by itself"
    )


@pytest.mark.parametrize(
    "message",
    [
        "Heartbeat failed for group billing because it is rebalancing",
        "Group Coordinator Request failed: [Error 15] CoordinatorNotAvailableError",
        "Topic __mps_control not found in cluster metadata",
        "Topic orders.dlq is not available during auto-create initialization",
    ],
)
def test_what_belongs_to_a_first_start_is_left_out(message: str) -> None:
    assert translated(line(message)) is None


def test_a_bug_stays_an_error_with_its_traceback() -> None:
    try:
        raise RuntimeError("odd")
    except RuntimeError:
        record = line("Unexpected error in coordinator routine")
        record.exc_info = sys.exc_info()
    found = translated(record)
    assert found is not None
    assert (found.levelno, found.exc_info) == (logging.ERROR, record.exc_info)
