"""The plan of a seed: the topics, the records, the application's answers, and the daemons' configuration."""

import random
from dataclasses import dataclass
from typing import Any

from mpsd.config import Config
from mpsd.config.load import validate
from mpsd.core.incarnation import TOPIC_ID_BYTES, Incarnation
from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import MapSpace, encode
from mpsd.core.offset_tracker import Run, Snapshot
from mpsd.core.record import TopicPartition
from mpsd.demo.guarantees import RecordPosition
from tests.simulation.application import Manner, Temper
from tests.simulation.broker import CLUSTER_ID
from tests.simulation.log import PartitionLog, SimulatedRecord

RECORDS = 2_200
PRODUCE_S = 14.0
"""Time in which records arrive; faults fall into it."""
WALL_S = 1_700_000_000.0
SESSION_TIMEOUT_MS, REBALANCE_TIMEOUT_MS, HEARTBEAT_INTERVAL_MS = 3_000, 2_000, 400
DELIVERY_TIMEOUT_S = 0.8
METADATA_UNITS_MAX = 4_096
EARLY_RECORDS = 60


@dataclass(slots=True)
class Plan:
    """All that is drawn before the story begins.

    Attributes:
        arrivals: when each record is produced, ascending, and where.
        committed: what the group finds committed by another program, or for another log.
        keys: of records, in the order of how many there are.
        operated: there is a control topic, and somebody who uses it.
        letter_partitions: of the dead-letter topic.
        holds: keys are blocked behind dead letters.
    """

    config: Config
    logs: dict[TopicPartition, PartitionLog]
    arrivals: list[tuple[float, TopicPartition, bytes | None, Temper]]
    committed: dict[TopicPartition, tuple[int, str]]
    null_keys_free: bool
    daemons: int
    keys: list[bytes]
    operated: bool
    dead_letter_partitions: int
    holds: bool


def draw(seed: int) -> Plan:
    dice = random.Random(f"{seed}/plan")
    logs = {tp: PartitionLog(dice.choice((0, 0, 1_000, 5_000_000_000))) for tp in _partitions(dice)}
    null_keys_free = dice.random() < 0.8
    operating = random.Random(f"{seed}/operating")
    is_operated, dead_letter_partitions = operating.random() < 0.5, operating.randint(1, 3)
    holding = _holding(seed) if is_operated else {}
    plan = Plan(
        config=_config(dice, sorted({tp.topic for tp in logs}), null_keys_free, _batch(seed), holding),
        logs=logs,
        arrivals=_arrivals(dice, list(logs)),
        committed=_foreign(dice, logs),
        null_keys_free=null_keys_free,
        daemons=1 if dice.random() < 0.1 else dice.randint(2, 4),
        keys=[b"%d" % number for number in range(12)],
        operated=is_operated,
        dead_letter_partitions=dead_letter_partitions,
        holds=bool(holding),
    )
    _of_other_incarnations(seed, plan)
    return plan


def _partitions(dice: random.Random) -> list[TopicPartition]:
    topics = {"orders": dice.randint(3, 5), "refunds": dice.randint(0, 3)}
    return [TopicPartition(topic, partition) for topic, count in topics.items() for partition in range(count)]


def _arrivals(
    dice: random.Random, partitions: list[TopicPartition]
) -> list[tuple[float, TopicPartition, bytes | None, Temper]]:
    keys = [b"%d" % number for number in range(dice.choice((12, 60, 400)))]
    sick = dice.choice(keys) if dice.random() < 0.3 else b"nobody"
    service_s = dice.choice((0.005, 0.02, 0.04))
    times = sorted(dice.random() ** 1.3 * PRODUCE_S for _ in range(RECORDS))
    arrivals = []
    for at_s in times:
        key = None if dice.random() < 0.12 else keys[int(len(keys) * dice.random() ** 2)]
        temper = Temper(Manner.FAILS, service_s) if key == sick else _temper(dice, service_s)
        arrivals.append((at_s, dice.choice(partitions), key, temper))
    return arrivals


def _temper(dice: random.Random, service_s: float) -> Temper:
    took_s = service_s * (0.3 + dice.expovariate(1.0)) if dice.random() < 0.95 else 0.4
    drawn = dice.random()
    if drawn < 0.95:
        return Temper(Manner.ACCEPTS, took_s)
    if drawn < 0.98:
        return Temper(Manner.FAILS_FIRST, took_s, dice.randint(1, 2))
    if drawn < 0.99:
        return Temper(Manner.REJECTS, took_s)
    if drawn < 0.995:
        return Temper(Manner.HANGS_FIRST, took_s, 1)
    return Temper(Manner.FAILS if drawn < 0.998 else Manner.BREAKS, took_s)


def _foreign(dice: random.Random, logs: dict[TopicPartition, PartitionLog]) -> dict[TopicPartition, tuple[int, str]]:
    """Return commits from before our time: nothing, another program's words, or the map of a log that is gone."""
    committed = {}
    for tp, log in logs.items():
        drawn = dice.random()
        if drawn < 0.1:
            committed[tp] = (log.start, dice.choice(("bm90IG91cnM=", "mps1aAAAA", "mps9zzzz", "{}")))
        elif drawn < 0.3:
            runs = (Run(log.start + dice.randint(40, 80), log.start + dice.randint(90, 140)),)
            text = encode(Snapshot(log.start, runs, ()), tp, MapSpace(Packing.ASCII, METADATA_UNITS_MAX)).text
            committed[tp] = (log.start, text)
    return committed


def _of_other_incarnations(seed: int, plan: Plan) -> None:
    """Let a third of the stories begin with records, and with commits that are not of their topics.

    Those are left from a topic of the name that was deleted, or were copied from another cluster, with their maps.
    """
    dice = random.Random(f"{seed}/incarnations")
    if dice.random() < 0.67:
        return
    space = MapSpace(Packing.ASCII, METADATA_UNITS_MAX)
    for tp in [tp for tp in plan.logs if tp not in plan.committed and dice.random() < 0.4]:
        early = [each for each in plan.arrivals if each[1] == tp][:EARLY_RECORDS]
        later = [each for each in plan.arrivals if each not in early]
        plan.arrivals = [(0.0, tp, key, temper) for _, tp, key, temper in early] + later
        start, topic_id = plan.logs[tp].start, dice.randbytes(TOPIC_ID_BYTES)
        is_copied = dice.random() < 0.5
        offset = start if is_copied else start + dice.randint(1, EARLY_RECORDS // 2)
        other = Incarnation(topic_id, "mirrored" if is_copied else CLUSTER_ID)
        runs = (Run(offset + 1, offset + dice.randint(2, EARLY_RECORDS // 2)),)
        plan.committed[tp] = (offset, encode(Snapshot(offset, runs, ()), tp, space, other).text)


def produced(tp: TopicPartition, offset: int, key: bytes | None, wall_s: float) -> SimulatedRecord:
    return SimulatedRecord(tp.topic, tp.partition, offset, int(wall_s * 1000), key)


def place(made: SimulatedRecord) -> RecordPosition:
    return RecordPosition(made.topic, made.partition, made.offset)


def _batch(seed: int) -> dict[str, Any]:
    """One story in four has batches; half of those have runs in them."""
    dice = random.Random(f"{seed}/batch")
    if dice.random() < 0.75:
        return {}
    return {"records_max": dice.choice((3, 8, 20)), "keys": dice.choice(("distinct", "runs"))}


def _holding(seed: int) -> dict[str, Any]:
    """Half of the stories that have an operator hold keys, some of them only very few."""
    dice = random.Random(f"{seed}/hold")
    if dice.random() < 0.5:
        return {}
    return {"after_dead_letter": "block", "blocked_keys_max": dice.choice((3, 8, 10_000, 10_000))}


def _config(
    dice: random.Random, topics: list[str], null_keys_free: bool, batch: dict[str, Any], holding: dict[str, Any]
) -> Config:
    subscription: dict[str, Any] = {
        "name": "billing",
        "topics": topics,
        "group": "billing",
        "delivery": {
            "protocol": "rest",
            "url": "http://127.0.0.1:8000/orders",
            "concurrency_max": dice.choice((8, 16, 32)),
            "timeout_s": DELIVERY_TIMEOUT_S,
            "batch": batch,
        },
        "ordering": {"by": "key", "null_key": "none" if null_keys_free else "partition", **holding},
        "pending": {"records_max": dice.choice((30, 100, 1_000))},
        "retry": {
            "attempts_max": dice.choice((4, 5, 6)),
            "backoff_initial_s": 0.05,
            "backoff_max_s": 0.4,
            "failing_key_after": 3,
            "lost_window_s": 0.2,
        },
        "breaker": {
            "lanes_min": 3,
            "failures_min": 8,
            "successes_between": 10,
            "probe_interval_s": 0.2,
            "rejections_max": 6,
        },
        "dead_letter": {"backoff_initial_s": 0.1, "backoff_max_s": 0.5},
        "commit": {"interval_s": dice.choice((0.3, 0.6, 1.0)), "metadata_units_max": METADATA_UNITS_MAX},
        "rebalance": {"drain_timeout_s": 1.5},
    }
    kafka = {
        "bootstrap_servers": ["127.0.0.1:9092"],
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        "rebalance_timeout_ms": REBALANCE_TIMEOUT_MS,
        "heartbeat_interval_ms": HEARTBEAT_INTERVAL_MS,
    }
    return validate({"kafka": kafka, "subscriptions": [subscription]})
