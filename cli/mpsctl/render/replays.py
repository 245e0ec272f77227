"""Replays: a preview, the progress of one, and a list."""

from datetime import datetime

from mpsctl.render.changes import confirmation
from mpsctl.render.dead_letters import INCOMPLETE, dead_letters_table, groups_table
from mpsctl.render.formats import ago, by_whom, clock, count, key, printable, rate, records, span, utc_now
from mpsctl.render.page import MORE, Column, Page, Piece, Style, Table
from mpsctl.views.replays import Filter, Plan, Preview, Replay, Replays

STATES = {
    "running": Piece("running", Style.GOOD),
    "paused": Piece("paused", Style.WARN),
    "done": Piece("done", Style.GOOD),
    "cancelled": Piece("cancelled", Style.WARN),
    "failed": Piece("failed", Style.BAD),
}
UNKNOWN = Piece("unknown", Style.BAD)


def preview_page(preview: Preview) -> Page:
    """Return a page that previews a replay."""
    page, now = Page(), utc_now()
    page.entry("would replay", Piece(records(preview.matched_records), Style.STRONG))
    page.entry("of", filter_text(preview.plan, now))
    page.entry("to", *target_pieces(preview.plan))
    if preview.matched_records:
        largest = f"{count(preview.keys)}, at most {records(preview.largest_key_records)} of one"
        page.entry("keys", largest)
    page.entry(
        "rate",
        _rate(preview.plan) + (f", so it takes {span(preview.takes_s)}" if preview.takes_s is not None else ""),
    )
    if preview.replayed_records:
        page.entry("left out", f"{records(preview.replayed_records)} replayed before (--again)")
    if preview.quarantined_records:
        left_out = f"{records(preview.quarantined_records)} in quarantine (--include-quarantined)"
        page.entry("left out", left_out)
    if preview.groups:
        page.gap().table(groups_table(preview.groups, now))
    if preview.samples:
        page.gap().table(dead_letters_table(preview.samples, now))
    if preview.incomplete:
        page.say(Piece(INCOMPLETE, Style.WARN))
    return page


def target_pieces(plan: Plan) -> list[Piece]:
    """Return the target of a replay, and its receivers."""
    if plan.target == "topic":
        return [Piece("the source topic, where every group receives them again", Style.BAD)]
    return [Piece(f"the application of {plan.subscription} only")]


def filter_text(plan: Plan, now: datetime) -> str:
    """Format a filter: `billing: rejected, status 422, since 14:00:00`."""
    of: Filter = plan.filter
    parts: list[str] = [*of.dispositions]
    if of.statuses:
        parts.append(f"status {' or '.join(map(str, of.statuses))}")
    if of.reason_contains is not None:
        parts.append(f"reason with “{printable(of.reason_contains)}”")
    if of.topic is not None:
        parts.append(f"topic {of.topic}" if of.partition is None else f"partition {of.topic}/{of.partition}")
    if of.key_base64 is not None or of.content_hidden:
        parts.append(f"key {key(of.key, of.key_base64, hidden=of.content_hidden)}")
    parts += [f"since {clock(of.since, now)}"] if of.since else []
    parts += [f"until {clock(of.until, now)}"] if of.until else []
    parts += [f"at most {count(plan.records_max)}"] if plan.records_max else []
    parts += ["again"] if plan.again else []
    parts += ["quarantined too"] if plan.include_quarantined else []
    return f"{plan.subscription}: {', '.join(parts) or 'all dead letters'}"


def _rate(plan: Plan) -> str:
    return rate(plan.rate_max_per_s) if plan.rate_max_per_s else "no limit"


def _limit(plan: Plan) -> str:
    return f"limit {rate(plan.rate_max_per_s)}" if plan.rate_max_per_s else "no limit"


def replay_page(replay: Replay) -> Page:
    """Return a page of one replay, with its progress."""
    page, now = Page(), utc_now()
    state = STATES.get(replay.state, UNKNOWN)
    why = f": {printable(replay.state_reason)}" if replay.state_reason else ""
    page.entry("replay", Piece(replay.id, Style.STRONG))
    page.entry("state", state, Piece(why))
    page.entry("of", filter_text(replay.plan, now))
    page.entry("to", *target_pieces(replay.plan))
    page.entry("progress", progress_text(replay))
    left = f", {span(replay.left_s)} left" if replay.left_s is not None else ""
    page.entry("rate", f"{rate(replay.sent_per_s)} now, {_limit(replay.plan)}{left}")
    if replay.left_records:
        page.entry("to look at", f"{records(replay.left_records)} of the dead-letter topic")
    if replay.expired_records:
        expired = f"{records(replay.expired_records)}, gone from the topic before they were read"
        page.entry("expired", Piece(expired, Style.WARN))
    page.entry("started", f"{clock(replay.started_at, now)}, {ago(replay.started_at, now)}")
    if replay.ended_at is not None:
        page.entry("ended", f"{clock(replay.ended_at, now)}, {ago(replay.ended_at, now)}")
    who, reason = replay.started_by, replay.started_reason
    page.entry("by", printable(who or "-") + (f": {printable(reason)}" if reason else ""))
    last = replay.provenance
    if last.who not in {who, "mpsd"} or (last.who == who and last.reason != reason):
        page.entry("changed", by_whom(last, now))
    if replay.changed is not None:
        confirmation(
            page.gap(),
            replay.changed,
            f"replay {replay.id} is {replay.state} already: nothing was changed"
            if replay.changed.unchanged
            else f"replay {replay.id} is {replay.state}",
            "some daemons may still act on the old state",
        )
    return page


def progress_text(replay: Replay) -> str:
    """Format the progress in one line, for pages and for `--wait`."""
    return (
        f"{count(replay.matched_records)} matched, {count(replay.sent_records)} sent,"
        f" {count(replay.succeeded_records)} succeeded, {count(replay.failed_records)} failed again"
    )


def replays_page(replays: Replays) -> Page:
    """Return a page with one line for each entry."""
    page, now = Page(), utc_now()
    if not replays.replays:
        return page.say(Piece("No replays.", Style.DIM))
    table = Table(
        Column("replay", flexible=True),
        Column("subscription", flexible=True),
        Column("state"),
        Column("sent", right=True),
        Column("ok", right=True),
        Column("failed", right=True),
        Column("started", right=True),
        Column("left", right=True),
    )
    for each in replays.replays:
        table.add(
            Piece(each.id, Style.STRONG),
            printable(each.plan.subscription),
            STATES.get(each.state, UNKNOWN),
            count(each.sent_records),
            count(each.succeeded_records),
            Piece(count(each.failed_records), Style.WARN if each.failed_records else Style.PLAIN),
            clock(each.started_at, now),
            span(each.left_s),
            notes=[Piece(printable(each.state_reason), Style.WARN)] if each.state_reason else [],
        )
    page.table(table)
    if replays.more:
        page.say(MORE)
    return page
