"""The status of the fleet, in 80 columns."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from mpsctl.render.formats import (
    NONE,
    ago,
    ahead,
    by_whom,
    clock,
    count,
    limit_text,
    number,
    printable,
    rate,
    record,
    records,
    selection_text,
    size,
    span,
    utc_now,
)
from mpsctl.render.page import Column, Page, Piece, Style, Table
from mpsctl.render.replays import progress_text
from mpsctl.render.trend import Trends
from mpsctl.views.fleet import Instance, Pause
from mpsctl.views.status import Endpoint, Failure, Flow, Limit, Partition, Status, Subscription

FAILURE_SHOWN_S = 600.0
"""Age up to which the last failure is shown; `--json` always has it."""
SEVERITIES = {"ok": Style.GOOD, "warning": Style.WARN}


def status_page(status: Status, *, partitions: bool = False, trends: Trends | None = None) -> Page:
    """Return a page of subscriptions with their problems, then the daemons.

    Args:
        trends: the recent rates and lags of each.
    """
    page, now = Page(), status.taken_at or utc_now()
    if not status.subscriptions:
        page.say(Piece("No subscriptions.", Style.DIM))
    else:
        page.table(_subscriptions(status.subscriptions, now, trends or Trends()))
    if partitions:
        for subscription in (each for each in status.subscriptions if each.partitions):
            page.gap().table(_partitions(subscription))
    page.gap().table(instances_table(status.instances, now))
    for each in status.departures:
        left = f"{printable(each.address)} left {clock(each.left_at, now)}, {ago(each.left_at, now)}"
        page.say(Piece(left, Style.WARN))
    return page


def _subscriptions(subscriptions: Sequence[Subscription], now: datetime, trends: Trends) -> Table:
    table = Table(
        Column("subscription", flexible=True),
        Column("state"),
        Column("lag", right=True),
        Column("age", right=True),
        Column("rate", right=True),
        Column("flight", right=True),
        Column("pending", right=True),
        Column("retry", right=True),
        Column("dead", right=True),
    )
    for each in subscriptions:
        unresolved = each.unresolved_dead_letters
        dead = Piece(NONE if unresolved is None else count(unresolved), Style.WARN if unresolved else Style.PLAIN)
        table.add(
            Piece(printable(each.name), Style.STRONG),
            state_piece(each.state, each.state_severity),
            _at_least(count(each.flow.lag_records), each.lag_missing_partitions),
            _at_least(span(each.flow.lag_age_s), each.missing_partitions),
            _at_least(rate(each.delivered_per_s), each.missing_partitions),
            _at_least(count(each.flow.in_flight_records), each.missing_partitions),
            _at_least(count(each.flow.pending_records), each.missing_partitions),
            _at_least(count(each.flow.backing_off_records), each.missing_partitions),
            dead,
            notes=[*_trend(trends.text(each.name)), *_notes(each, now)],
        )
    return table


def state_piece(state: str, severity: str) -> Piece:
    """Return a state in the style of its severity."""
    return Piece(printable(state), style_of(severity))


def style_of(severity: str) -> Style:
    """Return the style of a severity; a severity of a later version is bad."""
    return SEVERITIES.get(severity, Style.BAD)


def _at_least(shown: str, missing: int) -> str:
    """Return the text of a sum, marked if the sum lacks partitions."""
    return f"≥{shown}" if missing and shown != NONE else shown


def _partial(of: Subscription) -> Iterator[Piece]:
    """Yield a note if the sums lack partitions."""
    if not of.missing_partitions:
        return
    total = sum(each.partitions for each in of.partition_states)
    lag = "LAG is partial too" if of.lag_missing_partitions else "LAG is complete, from Kafka"
    text = f"sums are partial: {of.missing_partitions} of {total} partitions are missing; {lag}"
    yield Piece(text, Style.BAD)


def _trend(text: str) -> Iterator[Piece]:
    if text:
        yield Piece(text, Style.DIM)


def _notes(of: Subscription, now: datetime) -> Iterator[Piece]:
    if of.state_reason and not (of.state == "paused" and of.pauses):
        yield Piece(printable(of.state_reason), style_of(of.state_severity))
    yield from _partial(of)
    if of.endpoint is not None:
        yield from _endpoint(of, of.endpoint, now)
    for pause in of.pauses:
        yield Piece(pause_text(pause, now), Style.WARN)
    if (part := of.tightest) is not None and part.room_records is not None and part.room_bytes is not None:
        room = f"{records(part.room_records)} or {size(part.room_bytes)}"
        yield Piece(f"{part.topic}/{part.partition} has room for {room} more, then all its keys wait", Style.WARN)
    if of.limit is not None:
        yield Piece(f"limited to {_limit(of.limit)}, {by_whom(of.limit.provenance, now)}", Style.WARN)
    if of.blocked_keys:
        yield Piece(
            f"{number(of.blocked_keys, 'key')} blocked behind dead letters; they wait for a replay:", Style.WARN
        )
        yield Piece(f"mpsctl dlq ls {of.name} --disposition blocked --group-by key", Style.DIM)
        yield Piece(f"mpsctl replay-dlq {of.name} --key KEY", Style.DIM)
    is_shown = bool(of.endpoint is not None and of.endpoint.reason)  # the state's reason has the last failure then
    if not is_shown and (failed := of.last_failure) is not None and _is_recent(failed, now):
        became = "; it becomes a dead letter" if failed.dead_lettered else ""
        text = f"last failure {ago(failed.failed_at, now)}, {record(failed.record)}: {printable(failed.reason)}{became}"
        yield Piece(text, Style.WARN)
    for replay in of.replays:
        yield Piece(f"replay {replay.id} is {replay.state}: {progress_text(replay)}", Style.WARN)
    if of.flow.oldest is not None and of.flow.lag_age_s and of.flow.lag_age_s >= 1:
        yield Piece(f"oldest {record(of.flow.oldest)}, {span(of.flow.lag_age_s)} old", Style.DIM)


def _endpoint(of: Subscription, endpoint: Endpoint, now: datetime) -> Iterator[Piece]:
    if endpoint.rejections_accepted:
        yield Piece("rejections are accepted: rejected records are dead-lettered until a delivery succeeds", Style.WARN)
        return
    since = f"since {ago(endpoint.since, now)}, " if endpoint.since is not None else ""
    yield Piece(f"{since}{records(endpoint.waiting_records)} wait; probes go on", Style.DIM)
    if of.state == "all-rejected":
        yield Piece(f"if the rejections are right: mpsctl accept-rejections {of.name} --reason ...", Style.DIM)


def _is_recent(failed: Failure, now: datetime) -> bool:
    return failed.failed_at is not None and (now - failed.failed_at).total_seconds() < FAILURE_SHOWN_S


def pause_text(pause: Pause, now: datetime) -> str:
    """Format a pause: `paused: key k1, 3m ago by anna, 27m left: deploying`."""
    until = f", {ahead(pause.until, now)} left" if pause.until else ""
    return f"paused: {printable(selection_text(pause.selection))}{until}, {by_whom(pause.provenance, now)}"


def _limit(limit: Limit) -> str:
    return limit_text(limit.rate_max_per_s, limit.concurrency_max)


def _partitions(of: Subscription) -> Table:
    table = Table(
        Column(f"{of.name} partition", flexible=True),
        Column("state"),
        Column("committed", right=True),
        Column("log end", right=True),
        Column("lag", right=True),
        Column("age", right=True),
        Column("pending", right=True),
        Column("daemon", flexible=True),
    )
    for each in of.partitions:
        table.add(*_partition_cells(each), notes=_partition_notes(each))
    return table


def _partition_cells(of: Partition) -> list[Piece]:
    flow: Flow | None = of.flow
    return [
        Piece(f"{of.topic}/{of.partition}"),
        state_piece(of.state, of.state_severity),
        Piece(NONE if of.next_offset is None else str(of.next_offset)),
        Piece(NONE if of.log_end is None else str(of.log_end)),
        Piece(NONE if of.lag_records is None else count(of.lag_records)),
        Piece(span(flow.lag_age_s) if flow else NONE),
        Piece(count(flow.pending_records) if flow else NONE),
        Piece(of.instance) if of.instance else Piece("none", Style.BAD),
    ]


def _partition_notes(of: Partition) -> Iterator[Piece]:
    if of.state_reason:
        yield Piece(printable(of.state_reason), style_of(of.state_severity))
    if of.blocked_keys:
        yield Piece(f"{number(of.blocked_keys, 'key')} blocked behind dead letters", Style.WARN)


def instances_table(instances: Sequence[Instance], now: datetime) -> Table:
    """Return a table of the daemons, with their problems."""
    answered = sum(each.answered for each in instances)
    table = Table(
        Column(f"daemons, {answered} of {len(instances)} answer", flexible=True),
        Column("state"),
        Column("version"),
        Column("up", right=True),
        Column("partitions", right=True),
    )
    at = Counter(each.address for each in instances)
    for each in instances:
        host = f" on {printable(each.host)}" if at[each.address] > 1 and each.host else ""
        up = span((now - each.started_at).total_seconds()) if each.started_at else NONE
        notes = [Piece(printable(each.problem), Style.WARN if each.answered else Style.BAD)] if each.problem else []
        table.add(
            Piece(f"{each.address}{host}"),
            Piece("answers", Style.GOOD) if each.answered else Piece("no answer", Style.BAD),
            each.version or NONE,
            up,
            count(each.partitions) if each.answered else NONE,
            notes=notes,
        )
    return table
