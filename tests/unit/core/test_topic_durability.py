"""A dead-letter topic must keep what is written to it."""

from dataclasses import replace
from typing import Any

import pytest

from mpsd.core.topic_durability import TopicSettings, WantedSettings, weaknesses

SOUND = TopicSettings(
    replicas=3,
    min_in_sync=2,
    cleanup_policy="delete",
    retention_ms=10_000,
    retention_bytes=-1,
    max_message_bytes=1000,
)
WANTED = WantedSettings(replicas=3, retention_s=10, record_bytes_max=1000)


def test_a_sound_topic_has_no_weakness() -> None:
    assert weaknesses(SOUND, WANTED) == []


def test_what_is_not_visible_is_no_weakness_that_could_be_named() -> None:
    assert weaknesses(TopicSettings(replicas=3), WANTED) == []
    assert weaknesses(TopicSettings(replicas=3, cleanup_policy="delete"), WANTED) == []


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"retention_ms": 9_999}, "retention.ms=9999 keeps dead letters 9 s instead of 10 s"),
        ({"retention_bytes": 1 << 20}, "retention.bytes=1048576 deletes the oldest"),
        ({"max_message_bytes": 999}, "max.message.bytes=999 is below the 1000 of the source topic"),
        ({"replicas": 2}, "2 replica(s) instead of 3"),
        ({"min_in_sync": 1}, "min.insync.replicas=1 instead of 2"),
        ({"min_in_sync": 4}, "min.insync.replicas=4 is above its 3 replica(s)"),
    ],
)
def test_each_weak_setting_is_named(setting: dict[str, Any], text: str) -> None:
    (weak,) = weaknesses(replace(SOUND, **setting), WANTED)
    assert text in weak.text
    assert not weak.loses


@pytest.mark.parametrize("policy", ["compact", "compact,delete", "delete,compact"])
def test_a_compacted_topic_loses_dead_letters(policy: str) -> None:
    (weak,) = weaknesses(replace(SOUND, cleanup_policy=policy), WANTED)
    assert weak.loses
    assert policy in weak.text


def test_dead_letters_to_be_kept_for_ever_are_not_deleted_at_all() -> None:
    forever = WantedSettings(replicas=3, retention_s=0)
    (weak,) = weaknesses(SOUND, forever)
    assert "for ever" in weak.text
    assert weaknesses(replace(SOUND, retention_ms=-1), forever) == []
    assert weaknesses(replace(SOUND, cleanup_policy="", retention_ms=1), forever) == []
