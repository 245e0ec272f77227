"""`mpsd dev`: records of a file go through a real Kafka and the real daemon to an application; each outcome is shown.

Theory of operation: one Kafka for as long as the command runs; for each round a topic of its own and a daemon in this
process, whose adapter is watched. A round is over when every record was accepted or is a dead letter, or when its time
is over.
"""

import asyncio
import json
import logging
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mpsd.config import Config, validate
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Outcome
from mpsd.demo.broker import KafkaCluster, external_servers
from mpsd.devtools.dev_report import Attempt, Fate, attempt_line, summary, write_table
from mpsd.devtools.records_file import RecordsFileError, read_records
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.topics import Message, Topics
from mpsd.ports import AdapterStatistics, DeliveryAdapter, Demand, Peer
from mpsd.service import Daemon

POLL_S = 0.1
WATCH_S = 0.3
LINES_PER_ROUND_MAX = 200
"""Deliveries that are shown one by one; the table at the end has the rest."""
INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options of the command.

    Attributes:
        url: where records are posted.
        wait_s: how long a round may take.
    """

    records: Path
    url: str
    partitions: int = 3
    attempts_max: int = 5
    timeout_s: float = 30.0
    concurrency_max: int = 64
    batch_records_max: int = 1
    wait_s: float = 60.0
    watch: bool = False
    json_output: bool = False


def run_dev(plan: Plan) -> int:
    """Deliver the records of the file, again after each change if it is watched; must be called in the main thread.

    Returns:
        The exit code: 0 all accepted, 1 not all, 130 interrupted before the first round was over.

    Raises:
        ConfigError: the URL or another setting cannot be used.
        RecordsFileError: the file of records cannot be used.
        MpsError: Kafka did not start.
    """
    for name in ("aiokafka", "mpsd"):  # the report has the outcome of each record
        logging.getLogger(name).setLevel(logging.CRITICAL)
    messages = read_records(plan.records)
    configuration(plan, ["127.0.0.1:9092"], "mps-dev")  # what is wrong with it shall not wait for a broker
    return asyncio.run(_Dev(plan).until_signalled(messages))


class _Dev:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._out: TextIO = sys.stderr if plan.json_output else sys.stdout
        self._exit_code = INTERRUPTED

    async def until_signalled(self, messages: Sequence[Message]) -> int:
        main = asyncio.current_task()
        assert main
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, main.cancel)
        with suppress(asyncio.CancelledError):
            servers = external_servers()
            if servers:
                await self._rounds(messages, servers)
            else:
                self._say("starting a Kafka …")
                async with KafkaCluster() as cluster:
                    await self._rounds(messages, cluster.bootstrap_servers)
        return self._exit_code

    async def _rounds(self, messages: Sequence[Message], servers: Sequence[str]) -> None:
        async with Topics(servers) as topics:
            while True:
                looked = self._looks()
                fates = await Round(self._plan, topics, servers, self._say).deliver(messages)
                self._exit_code = 0 if all(fate.state == "accepted" for fate in fates) else 1
                self._show(fates)
                if not self._plan.watch:
                    return
                self._say(f"waiting for a change of {self._plan.records}; Ctrl-C ends it")
                messages = await self._changed(looked)

    async def _changed(self, since: tuple[int, int]) -> Sequence[Message]:
        """Return the records after the next change that leaves a usable file."""
        while True:
            while (now := self._looks()) == since:  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(WATCH_S)
            since = now
            try:
                return read_records(self._plan.records)
            except RecordsFileError as error:
                self._say(f"{error}; waiting for the next change")

    def _looks(self) -> tuple[int, int]:
        """Return the file's time and size; the time alone may be equal for two writes in quick succession."""
        try:
            stat = self._plan.records.stat()
        except OSError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_size

    def _show(self, fates: Sequence[Fate]) -> None:
        if self._plan.json_output:
            print(json.dumps({"summary": summary(fates), "records": [fate.as_json() for fate in fates]}), flush=True)
        else:
            write_table(fates, self._out)

    def _say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


class Round:
    """One delivery of all records of the file."""

    def __init__(self, plan: Plan, topics: Topics, servers: Sequence[str], say: Callable[[str], None]) -> None:
        self._plan = plan
        self._topics = topics
        self._servers = servers
        self._say = say
        self._fates: dict[tuple[int, int], Fate] = {}
        self._lines = 0

    async def deliver(self, messages: Sequence[Message]) -> list[Fate]:
        """Produce and deliver the records; return the fate of each."""
        topic = f"mps-dev-{secrets.token_hex(4)}"
        await self._topics.create(topic, self._plan.partitions)
        try:
            written = await self._topics.produce(topic, messages)
            for line, (message, position) in enumerate(zip(messages, written, strict=True), start=1):
                self._fates[position] = Fate(
                    line=line, partition=position.partition, offset=position.offset, key=message.key
                )
            self._say(f"{len(messages):,} records to {self._plan.url}")
            await self._serve(configuration(self._plan, self._servers, topic))
            await self._see_dead_letters(f"{topic}.dlq")
        finally:
            for each in (topic, f"{topic}.dlq"):
                with suppress(KafkaUnavailable):
                    await self._topics.delete([each])
        return sorted(self._fates.values(), key=lambda fate: fate.line)

    async def _serve(self, config: Config) -> None:
        stop = asyncio.Event()
        daemon = Daemon(config, lambda: 0, self._watched)
        serving = asyncio.create_task(daemon.run(stop))
        deadline_s = time.monotonic() + self._plan.wait_s
        try:
            while time.monotonic() < deadline_s and not self._is_settled(daemon):
                await asyncio.wait([serving], timeout=POLL_S)
                if serving.done():
                    break
        finally:
            stop.set()
            await serving

    def _is_settled(self, daemon: Daemon) -> bool:
        return sum(
            each.deliveries.get("delivered", 0) + sum(each.dead_letters.values()) for each in daemon.statistics()
        ) >= len(self._fates)

    def _watched(self, adapter: DeliveryAdapter) -> DeliveryAdapter:
        return WatchedAdapter(adapter, self._on_attempt)

    def _on_attempt(self, delivery: Delivery, number: int, outcome: Outcome, took_s: float) -> None:
        fate = self._fates[delivery.record.partition, delivery.record.offset]
        attempt = Attempt(number=number, outcome=outcome, took_s=took_s)
        fate.attempts.append(attempt)
        self._lines += 1
        if self._lines <= LINES_PER_ROUND_MAX:
            self._say(attempt_line(fate, attempt))
        elif self._lines == LINES_PER_ROUND_MAX + 1:
            self._say("… further deliveries are not shown one by one")

    async def _see_dead_letters(self, topic: str) -> None:
        if not await self._topics.exists(topic):
            return
        for dead_letter in await self._topics.read_all(topic):
            headers = {
                name: (value or b"").decode() for name, value in dead_letter.headers if name != "mps-dlq-excerpt"
            }
            position = int(headers["__dlq.errors.partition"]), int(headers["__dlq.errors.offset"])
            if (fate := self._fates.get(position)) is not None:
                fate.disposition, fate.reason = headers["mps-dlq-disposition"], headers["mps-dlq-reason"]


def configuration(plan: Plan, servers: Sequence[str], topic: str) -> Config:
    """Return the daemon's configuration, with listeners on free ports.

    Raises:
        ConfigError: the URL or a number cannot be used.
    """
    listener = {"listen": "127.0.0.1:0"}
    delivery = {
        "protocol": "rest",
        "url": plan.url,
        "timeout_s": plan.timeout_s,
        "concurrency_max": plan.concurrency_max,
        "batch": {"records_max": plan.batch_records_max},
    }
    return validate(
        {
            "kafka": {"bootstrap_servers": list(servers)},
            "http": listener,
            "admin": listener,
            "stream": listener,
            "control": {"topic": "", "audit_topic": ""},
            "shutdown": {"grace_s": min(5.0, plan.timeout_s)},
            "subscriptions": [
                {
                    "name": "dev",
                    "topics": [topic],
                    "group": topic,
                    "delivery": delivery,
                    "retry": {"attempts_max": plan.attempts_max},
                    "breaker": {
                        "rejections_max": 0
                    },  # a file of wrong records is tried on purpose: each gets its answer
                    "dead_letter": {"topic": f"{topic}.dlq"},
                }
            ],
        }
    )


Tell = Callable[[Delivery, int, Outcome, float], None]
"""Takes a delivery, its attempt, its outcome and its duration in seconds."""


class WatchedAdapter:
    """`DeliveryAdapter`: the inner one, with a word of each outcome to `tell` before the pipeline has it."""

    def __init__(self, inner: DeliveryAdapter, tell: Tell) -> None:
        self._inner = inner
        self._tell = tell

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        def settled(delivery: Delivery, outcome: Outcome) -> None:
            self._tell(delivery, delivery.attempt, outcome, time.monotonic() - delivery.started_s)
            settle(delivery, outcome)

        await self._inner.start(on_demand, settled)

    def demand(self) -> Demand:
        return self._inner.demand()

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self._inner.deliver(batch)

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        await self._inner.revoke(assignment, deadline_s)

    async def close(self, deadline_s: float) -> None:
        await self._inner.close(deadline_s)

    def on_peers(self, peers: Sequence[Peer]) -> None:
        self._inner.on_peers(peers)

    def statistics(self) -> AdapterStatistics:
        return self._inner.statistics()
