"""Findings about an application that does not take its records."""

from collections.abc import Iterator

from mpsd.admin.daemon import Finding
from mpsd.admin.rates import RECENT_S, Rates
from mpsd.core.retry import Disposition
from mpsd.pipeline.pipeline import Pipeline

DIED = frozenset(
    {
        Disposition.REJECTED.value,
        Disposition.ATTEMPTS_EXHAUSTED.value,
        Disposition.EXPIRED.value,
        Disposition.UNDELIVERABLE.value,
    }
)
"""Dispositions of records that failed for themselves: not skipped by an operator, not held behind another."""
MANY_RECORDS = 10
"""Fewer dead letters are no pattern."""
MANY_SHARE = 0.01
"""Of all records that were settled recently: from here on dead letters are a warning."""
MOST_SHARE = 0.5
"""From here on they are an error: the application refuses more than it takes."""


def failing_findings(pipeline: Pipeline, rates: Rates) -> Iterator[Finding]:
    """Yield what is found of a subscription's endpoint and of its recent dead letters."""
    yield from _dead_letters(pipeline, rates)


def _dead_letters(pipeline: Pipeline, rates: Rates) -> Iterator[Finding]:
    name, recent = pipeline.settings.name, rates.recent(pipeline.settings.name)
    dead, settled = recent.dead_lettered, recent.dead_lettered + recent.delivered
    if not dead:
        return
    last = pipeline.writer.last_failures.dead_letter
    text = f"{dead:,} of {settled:,} records of the last {RECENT_S / 60:g} minutes became dead letters"
    text += f"; the last: {last}" if last is not None else ""
    if dead < MANY_RECORDS or dead < settled * MANY_SHARE:
        yield Finding(ok=True, about=name, text=text)
        return
    yield Finding(
        ok=False,
        works=dead < settled * MOST_SHARE,
        about=name,
        text=text,
        advice=f"see why with mpsctl dlq ls {name} --group-by reason; repair the application, then mpsctl replay-dlq {name}",
    )
