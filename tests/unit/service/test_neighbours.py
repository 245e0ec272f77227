"""Members that cannot be reached: said once, and so is the end of it."""

import logging

import pytest

from mpsd.ports import Peer
from mpsd.service.neighbours import Neighbours

OWN = Peer("127.0.0.1:7070", "", "", "i", "a", "a")
OTHER = Peer("10.0.0.2:7070", "", "", "j", "b", "b")


def test_what_is_wrong_is_said_once_and_that_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    members = {OWN}
    neighbours = Neighbours(lambda: members)
    neighbours.look()
    assert not caplog.records
    members.add(OTHER)
    for _ in range(3):
        neighbours.look()
    members.add(OTHER._replace(instance="k", admin="127.0.0.1:7070"))
    neighbours.look()
    members.clear()
    neighbours.look()
    neighbours.look()
    said = [(vars(line)["code"], line.levelname, line.getMessage()) for line in caplog.records]
    assert [(code, level) for code, level, _ in said] == [
        ("fleet.unreachable", "ERROR"), ("fleet.unreachable", "ERROR"), ("fleet.reachable", "INFO"),
    ]  # fmt: skip
    assert said[0][2].startswith(
        "daemon i on host a advertises 127.0.0.1:7070 as its admin listener, which no other host"
    )
    assert said[0][2].endswith("; until then no change is confirmed")
    assert said[1][2].startswith("daemon k on host b advertises 127.0.0.1:7070")
