"""The history of changes, the findings of a check-up, and versions."""

from collections.abc import Sequence

from mpsctl.render.formats import NONE, clock, listed, number, printable, utc_now
from mpsctl.render.page import MORE, Column, Page, Piece, Style, Table
from mpsctl.views.history import CheckUp, History, Versions

MARKS = {"ok": Piece("✓", Style.GOOD), "warning": Piece("!", Style.WARN), "error": Piece("✗", Style.BAD)}
UNKNOWN = Piece("?", Style.BAD)


def history_page(history: History) -> Page:
    """Return a page of changes, the newest first, each with its reason and description."""
    page, now = Page(), utc_now()
    if not history.entries:
        return page.say(Piece("No changes in that time.", Style.DIM))
    table = Table(
        Column("when"),
        Column("who", flexible=True),
        Column("what"),
        Column("subscription", flexible=True),
    )
    for entry in history.entries:
        table.add(
            clock(entry.provenance.changed_at, now),
            Piece(printable(entry.provenance.who or NONE), Style.STRONG),
            entry.method,
            printable(entry.subscription or NONE),
            notes=[
                *([Piece(printable(entry.provenance.reason))] if entry.provenance.reason else []),
                *([Piece(printable(entry.description), Style.DIM)] if entry.description else []),
            ],
        )
    page.table(table)
    if history.more:
        page.say(MORE)
    return page


def check_up_page(check: CheckUp) -> Page:
    """Return a page of findings, the worst first, with advice."""
    page = Page()
    asked = sum(each.answered for each in check.instances)
    for finding in check.findings:
        where = f" ({_finders(finding.instances, asked)})" if asked > 1 and finding.instances else ""
        page.say(
            MARKS.get(finding.severity, UNKNOWN),
            Piece(" "),
            Piece(printable(finding.subject), Style.STRONG),
            Piece(f": {printable(finding.message)}"),
            Piece(where, Style.DIM),
        )
        if finding.advice:
            page.say(Piece(f"  → {printable(finding.advice)}", Style.WARN))
        if finding.code:
            page.say(Piece(f"  {finding.code}", Style.DIM))
    for each in check.instances:
        if not each.answered:
            page.say(
                Piece("✗ ", Style.BAD), Piece(each.address, Style.STRONG), f": no answer: {printable(each.problem)}"
            )
    errors = sum(finding.severity == "error" for finding in check.findings)
    warnings = sum(finding.severity == "warning" for finding in check.findings)
    answered = sum(each.answered for each in check.instances)
    page.gap().say(
        Piece(f"{answered} of {number(len(check.instances), 'daemon')} {'answers' if answered == 1 else 'answer'}, "),
        Piece(_none(errors, "error"), Style.BAD if errors else Style.PLAIN),
        Piece(", "),
        Piece(f"{_none(warnings, 'warning')}.", Style.WARN if warnings else Style.PLAIN),
    )
    return page


def _finders(instances: Sequence[str], asked: int) -> str:
    """Name the daemons that found something: `all 3 daemons`, or their addresses."""
    return f"all {asked} daemons" if len(instances) == asked else listed(list(instances))


def _none(of: int, what: str) -> str:
    return number(of, what) if of else f"no {what}s"


def versions_page(versions: Versions) -> Page:
    page = Page().say(f"mpsctl {versions.mpsctl} (Python {versions.python})")
    if versions.daemon is not None:
        daemon = versions.daemon
        page.say(f"mpsd   {daemon.version} (Python {daemon.python}) at {daemon.address}")
    return page
