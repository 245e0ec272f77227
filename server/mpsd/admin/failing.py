"""Findings about an application that does not take its records."""

import time
from collections.abc import Iterator
from typing import assert_never

from mpsd.admin.daemon import Finding
from mpsd.admin.rates import RECENT_S, Rates
from mpsd.core.breaker import EndpointState
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
"""Dispositions of records that failed for themselves: not skipped by an operator, not blocked behind another."""
MANY_RECORDS = 10
"""Fewer dead letters are no pattern."""
MANY_SHARE = 0.01
"""Of all records that were settled recently: from here on dead letters are a warning."""
MOST_SHARE = 0.5
"""From here on they are an error: the application refuses more than it takes."""


def failing_findings(pipeline: Pipeline, rates: Rates) -> Iterator[Finding]:
    """Yield what is found of a subscription's endpoint and of its recent dead letters."""
    yield from _endpoint(pipeline)
    yield from _dead_letters(pipeline, rates)


def _endpoint(pipeline: Pipeline) -> Iterator[Finding]:
    name, endpoint = pipeline.settings.name, pipeline.endpoint.statistics()
    waiting = sum(len(queue.tracker.unfinished) for queue in pipeline.pending.queues.values())
    since = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(endpoint.since_ms / 1000))
    match endpoint.state:
        case EndpointState.UP if endpoint.is_accepted:
            text = (
                "rejections of the endpoint are accepted: rejected records are dead-lettered until a delivery succeeds"
            )
            yield Finding(ok=False, works=True, about=name, text=text, code="endpoint.rejections_accepted")
        case EndpointState.UP:
            return
        case EndpointState.OUT:
            text = f"endpoint out since {since}: nothing succeeds, and {waiting:,} records wait at no cost"
            yield Finding(
                ok=False,
                about=name,
                text=f"{text}; the last failure: {endpoint.reason}",
                code="endpoint.out",
                advice=f"{_look(pipeline)}; deliveries go on by themselves",
            )
        case EndpointState.ALL_REJECTED:
            text = (
                f"endpoint rejects everything since {since}: dead-lettering stopped after {endpoint.rejections:,} records,"
                f" and {waiting:,} wait"
            )
            yield Finding(
                ok=False,
                about=name,
                text=f"{text}; the last rejection: {endpoint.reason}",
                code="endpoint.all_rejected",
                advice=f"{_look(pipeline)}; if the rejections are right, mpsctl accept-rejections {name}",
            )
        case _:
            assert_never(endpoint.state)


def _look(pipeline: Pipeline) -> str:
    """Return the advice to repair the application, and how to look at it where it has a URL."""
    url = pipeline.settings.sender.endpoint.partition("?")[0]
    return "repair the application" + (f" (mpsd check-endpoint {url} looks at it)" if url.startswith("http") else "")


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
