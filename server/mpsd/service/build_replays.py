"""From the configuration to what replays work with."""

from collections.abc import Mapping
from typing import Any

from mpsd.config import Config, Subscription
from mpsd.kafka.dead_letter_log import KafkaDeadLetterLog
from mpsd.kafka.republisher import KafkaRepublisher
from mpsd.pipeline.controls import Control
from mpsd.pipeline.replays import Replaying


def replaying(
    config: Config, subscription: Subscription, options: Mapping[str, Any], control: Control
) -> Replaying | None:
    """What a subscription replays with, connected to nothing yet; None without a control topic, which has the tasks."""
    if not control.is_on:
        return None
    dead_letter = subscription.dead_letter
    return Replaying(
        topic=dead_letter.topic,
        log=KafkaDeadLetterLog(dead_letter.topic, options),
        republisher=KafkaRepublisher(options, dead_letter.write_timeout_s),
        replays_max=dead_letter.replays_max,
        replayed_bytes_max=config.control.replayed_bytes_max,
        tasks_max=config.control.replays_max,
        record=control.record,
    )
