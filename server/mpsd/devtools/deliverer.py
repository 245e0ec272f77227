"""Delivery of sample records to an application through the daemon's own adapters, and its answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from mpsd.config import RestDelivery
from mpsd.core.delivery import Delivery
from mpsd.core.incarnation import Incarnation
from mpsd.core.outcome import Delivered, Outcome, Unavailable
from mpsd.delivery.rest import BatchAdapter, RestAdapter, Surroundings
from mpsd.delivery.rest.answer import AnswerRules, judge
from mpsd.delivery.rest.client.answer_reader import Answer
from mpsd.devtools.samples import Step, deliveries
from mpsd.ports import DeliveryAdapter

CLOSE_S = 1.0
SUBSCRIPTION = "check-endpoint"
"""Name that the requests bear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One step and its outcomes.

    Attributes:
        outcomes: of each record, in the order of the step.
        answers: what was received, in the order of time; fewer than requests where some had none.
        took_s: from the first request to the last answer.
    """

    step: Step
    outcomes: Sequence[Outcome]
    answers: Sequence[Answer]
    took_s: float


class SampleDeliverer:
    """A deliverer of steps, one after the other; each ends within the adapter's time-outs."""

    def __init__(self, settings: RestDelivery) -> None:
        self._answers: list[Answer] = []
        around = Surroundings(judge=self._look_on)
        self._adapter: DeliveryAdapter = (
            RestAdapter(SUBSCRIPTION, settings, around)
            if settings.batch.records_max == 1
            else BatchAdapter(SUBSCRIPTION, settings, around)
        )
        self._outcomes: dict[Delivery, Outcome] = {}
        self._settled = asyncio.Event()
        self._begin = 0
        self._incarnation = Incarnation(topic_id=uuid4().bytes)

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        await self._adapter.start(lambda: None, self._settle)
        try:
            yield
        finally:
            await self._adapter.close(CLOSE_S)

    async def deliver(self, step: Step) -> StepResult:
        batch = deliveries(step, self._begin, self._incarnation)
        self._begin += len(batch)
        self._answers, self._outcomes = [], {}
        began_s = time.monotonic()
        self._adapter.deliver(batch)
        while not all(delivery in self._outcomes for delivery in batch):
            self._settled.clear()
            await self._settled.wait()
        return StepResult(
            step=step,
            outcomes=[self._outcomes[delivery] for delivery in batch],
            answers=self._answers,
            took_s=time.monotonic() - began_s,
        )

    @property
    def connections(self) -> int:
        """Return the number of connections opened so far."""
        return int(self._adapter.statistics().numbers.get("opened", 0))

    def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        self._outcomes[delivery] = outcome
        self._settled.set()

    def _look_on(self, answer: Answer, rules: AnswerRules, now_s: float) -> Outcome:
        """Judge like the daemon; return a new `Delivered`, because adapters recognise their own object by identity."""
        self._answers.append(answer)
        outcome = judge(answer, rules, now_s)
        return Delivered() if isinstance(outcome, Delivered) else outcome


async def deliver_steps(settings: RestDelivery, steps: Iterable[Step]) -> tuple[list[StepResult], int]:
    """Deliver all steps; return their results, and the number of connections they took.

    Where the first, an ordinary record, finds nobody or is answered as if the endpoint were out, it is the only one: the
    others would only say the same.
    """
    deliverer, results = SampleDeliverer(settings), list[StepResult]()
    async with deliverer.started():
        for step in steps:
            results.append(await deliverer.deliver(step))
            if not results[0].answers or all(_is_endpoint_out(outcome) for outcome in results[0].outcomes):
                break
        return results, deliverer.connections


def _is_endpoint_out(outcome: Outcome) -> bool:
    return isinstance(outcome, Unavailable) and not outcome.throttled
