"""A check of an application: it gets the records that matter, and its answers become advice."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mpsd.config import RestDelivery
from mpsd.core.outcome import Delivered
from mpsd.devtools.advice import Advice, advice
from mpsd.devtools.deliverer import StepResult, deliver_steps
from mpsd.devtools.diagnosis import Diagnosis
from mpsd.devtools.samples import Sample, steps


async def check(settings: RestDelivery, own: Sequence[Sample]) -> tuple[list[StepResult], list[Advice]]:
    """Return what was delivered and what is to be improved; ends within the time-outs of the settings.

    Args:
        own: records of the user's; empty: one of ours stands for an ordinary one.

    Raises:
        ConfigError: the URL or a file of the TLS settings cannot be used.
    """
    batch = settings.batch.records_max
    with _quiet():
        results, connections = await deliver_steps(settings, steps(own, batch))
    looked, normal, more = Diagnosis(settings), results[0], list[Advice]()
    why = await looked.of(normal, has_own=bool(own))
    if batch == 1 and all(isinstance(outcome, Delivered) for outcome in normal.outcomes):
        lost = await looked.lost_headers(normal.step.samples[0])
        more += [lost] if lost is not None else []
    found = advice(results, connections, settings.timeout_s, is_batch=batch > 1, diagnosis=why, more=more)
    return results, found


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the adapters log nothing: what became of each record is in the report."""
    log = logging.getLogger("mpsd")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
