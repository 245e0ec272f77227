"""Dead letters: groups, a list, and one in full."""

from datetime import datetime

from mpsctl.render.formats import HIDDEN, NONE, ago, body, clock, count, key, number, printable, record, utc_now
from mpsctl.render.page import MORE, Column, Page, Piece, Style, Table
from mpsctl.views.dead_letters import DeadLetter, DeadLetters, Group, Summary, WholeDeadLetter

INCOMPLETE = "The time was up before all dead letters were read: there are more. Wait longer with --timeout 60s."

REPLAYED = "replayed already"
"""Mark of a dead letter that a replay has settled, and that another replay takes only with `--again`."""


def summary_page(summary: Summary) -> Page:
    """Return a page of groups with counts, first and last time, and a sample."""
    page, now = Page(), utc_now()
    if not summary.groups:
        page.say(Piece(f"No dead letters of {summary.subscription} match.", Style.DIM))
    else:
        page.table(groups_table(summary.groups, now))
        total = sum(group.records for group in summary.groups) + summary.other_records
        rest = f", {count(summary.other_records)} of them in groups not shown" if summary.other_records else ""
        page.gap().say(f"{number(total, 'dead letter')}{rest}.")
    if summary.incomplete:
        page.say(Piece(INCOMPLETE, Style.WARN))
    return page


def groups_table(groups: tuple[Group, ...], now: datetime) -> Table:
    table = Table(
        Column("records", right=True),
        Column("first", right=True),
        Column("last", right=True),
        Column("sample", flexible=True),
    )
    for group in groups:
        table.add(
            Piece(count(group.records), Style.STRONG),
            clock(group.first_at, now),
            clock(group.last_at, now),
            record(group.sample.source),
            notes=[Piece(printable(group.name) + _replayed(group))],
        )
    return table


def _replayed(group: Group) -> str:
    if not group.replayed_records:
        return ""
    all_of_them = group.replayed_records == group.records
    return f"; {'all' if all_of_them else count(group.replayed_records)} {REPLAYED}"


def dead_letters_page(dead_letters: DeadLetters) -> Page:
    """Return a page with one line for each entry."""
    page, now = Page(), utc_now()
    if not dead_letters.dead_letters:
        return page.say(Piece(f"No dead letters of {dead_letters.subscription} match.", Style.DIM))
    page.table(dead_letters_table(dead_letters.dead_letters, now))
    if dead_letters.more:
        page.say(MORE)
    return page


def dead_letters_table(dead_letters: tuple[DeadLetter, ...], now: datetime) -> Table:
    table = Table(
        Column("record", flexible=True),
        Column("key", flexible=True),
        Column("time", right=True),
        Column("tries", right=True),
        Column("why"),
        Column("status", right=True),
    )
    for dead_letter in dead_letters:
        table.add(
            Piece(record(dead_letter.source), Style.STRONG),
            key(dead_letter.key, dead_letter.key_base64, hidden=dead_letter.content_hidden),
            clock(dead_letter.dead_lettered_at, now),
            count(dead_letter.attempts),
            dead_letter.disposition,
            NONE if dead_letter.status is None else str(dead_letter.status),
            notes=[Piece(note, Style.DIM)] if (note := _note(dead_letter)) else [],
        )
    return table


def _note(dead_letter: DeadLetter) -> str:
    """Return the reason, and the replays of the dead letter."""
    return "; ".join(filter(None, (printable(dead_letter.reason), _replays(dead_letter))))


def _replays(of: DeadLetter) -> str:
    parts = [f"came back from {number(of.replays, 'replay')}"] if of.replays else []
    return "; ".join([*parts, *([REPLAYED] if of.replayed else [])])


def dead_letter_page(dead_letter: WholeDeadLetter, *, values: bool) -> Page:
    """Return a page with one dead letter in full."""
    page, now, of = Page(), utc_now(), dead_letter.dead_letter
    pairs = [
        ("record", record(of.source)),
        ("dead letter", record(of.dead_letter)),
        ("key", key(of.key, of.key_base64, hidden=of.content_hidden)),
        ("why", of.disposition + (f", status {of.status}" if of.status is not None else "")),
        ("reason", printable(of.reason) or NONE),
        ("attempts", count(of.attempts)),
        ("first failed", f"{clock(of.first_failed_at, now)}, {ago(of.first_failed_at, now)}")
        if of.first_failed_at
        else ("first failed", "never"),
        ("dead since", f"{clock(of.dead_lettered_at, now)}, {ago(of.dead_lettered_at, now)}"),
        ("replays", _replays(of) or NONE),
        ("answered", body(dead_letter.excerpt, dead_letter.excerpt_base64)),
    ]
    if dead_letter.content_hidden:
        pairs[-1] = ("answered", f"{HIDDEN}, and so are the headers: they take the role operator, or content = true")
    if values:
        pairs.append(("value", body(dead_letter.value, dead_letter.value_base64)))
    for name, text in pairs:
        page.entry(name, text)
    if dead_letter.headers:
        table = Table(Column("header", flexible=True), Column("value", flexible=True))
        for header in dead_letter.headers:
            table.add(printable(header.name), body(header.value, header.value_base64))
        page.gap().table(table)
    return page
