"""A whole pipeline between doubles, in virtual time."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mpsd.config import Subscription
from mpsd.core.delivery import Assignment
from mpsd.core.retry import RetryRules
from mpsd.pipeline.pending_queue import PartitionQueue, PendingBudget
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replay.sender import Replaying
from mpsd.pipeline.settings import Settings
from mpsd.ports import Control
from mpsd.service.build import pipeline_settings
from tests.fakes.adapter import FakeAdapter
from tests.fakes.clock import loop_clock, turns
from tests.fakes.control import NO_CONTROL
from tests.fakes.dead_letters import FakeDeadLetters
from tests.fakes.source import FakeSource
from tests.fakes.stage import policy_rules

SUBSCRIPTION = {
    "name": "billing",
    "topics": ["orders"],
    "group": "billing",
    "delivery": {"protocol": "rest", "url": "http://127.0.0.1:8000/orders"},
}


def settings(**changes: Any) -> Settings:
    """Return the default settings with the rules of tests and these changes."""
    made = pipeline_settings(Subscription.model_validate(SUBSCRIPTION))
    dead_lettering = RetryRules(attempts_max=1, backoff_initial_s=1.0, backoff_max_s=8.0)
    told: dict[str, Any] = {"rules": policy_rules(), "dead_lettering": dead_lettering, **changes}
    return dataclasses.replace(made, **told)


class Piped:
    """A pipeline and what it is connected to."""

    def __init__(
        self,
        told: Settings,
        control: Control = NO_CONTROL,
        replaying: Replaying | None = None,
        sink: FakeDeadLetters | None = None,
        source: FakeSource | None = None,
    ) -> None:
        self.source = source or FakeSource()
        self.adapter = FakeAdapter()
        self.sink = sink or FakeDeadLetters()
        self.pipeline = Pipeline(
            told,
            self.source,
            self.adapter,
            self.sink,
            PendingBudget(1 << 30),
            control,
            loop_clock(),
            replaying,
        )

    @property
    def queues(self) -> list[PartitionQueue]:
        return list(self.pipeline.pending.queues.values())

    def committed(self, partition: int = 0) -> int | None:
        """Return the group's committed offset; None if it never committed."""
        found = [point.next_offset for tp, point in self.source.committed.items() if tp.partition == partition]
        return found[0] if found else None

    def feed(self, *keys: bytes | None) -> Assignment:
        """Produce a record a key into partition 0, and assign it."""
        self.source.produce(*keys)
        return self.source.assign()

    async def joined(self) -> None:
        """Let the reader's task begin, and fail if it must."""
        await turns()
        assert self.pipeline.state != "starting"


@asynccontextmanager
async def piped(
    control: Control = NO_CONTROL,
    replaying: Replaying | None = None,
    sink: FakeDeadLetters | None = None,
    **changes: Any,
) -> AsyncIterator[Piped]:
    """Yield a pipeline that has started and joined; stop it at the end unless the story did so."""
    made = Piped(settings(**changes), control, replaying, sink)
    await made.pipeline.start()
    await made.joined()
    try:
        yield made
    finally:
        if made.pipeline.reason != "stopped":
            await made.pipeline.stop(1.0)
