from collections.abc import Mapping

import pytest

from mpsd.config import Control
from mpsd.kafka.internal_topics import InternalTopic, audit_topic, control_topic, weaknesses

CONTROL = control_topic(Control())
AUDIT = audit_topic(Control(audit_retention_s=90))
FOR_EVER = audit_topic(Control(audit_retention_s=0))


@pytest.mark.parametrize(
    ("topic", "partitions", "replicas", "configs", "words"),
    [
        (CONTROL, 1, 3, {"cleanup.policy": "compact", "min.insync.replicas": "2", "retention.ms": "5"}, []),
        (CONTROL, 1, 3, {}, []),
        (CONTROL, 4, 3, {}, ["4 partitions, of which only the first is used"]),
        (CONTROL, 1, 1, {"min.insync.replicas": "1"}, ["1 replica(s) instead of 3"]),
        (CONTROL, 1, 3, {"min.insync.replicas": "1"}, ["min.insync.replicas 1 instead of 2"]),
        (CONTROL, 1, 3, {"cleanup.policy": "delete"}, ["cleanup.policy delete instead of compact"]),
        (AUDIT, 1, 3, {"cleanup.policy": "delete", "retention.ms": "90000"}, []),
        (AUDIT, 1, 3, {"retention.ms": "-1"}, []),
        (AUDIT, 1, 3, {"retention.ms": "89000"}, ["retention 89 s"]),
        (FOR_EVER, 1, 3, {"retention.ms": "89000"}, ["retention 89 s"]),
    ],
)
def test_what_is_weaker_than_it_should_be_is_named(
    topic: InternalTopic, partitions: int, replicas: int, configs: Mapping[str, str], words: list[str]
) -> None:
    assert weaknesses(topic, partitions, replicas, 3, configs) == words
