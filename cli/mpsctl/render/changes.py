"""Results of changes."""

from mpsctl.render.formats import NONE, ahead, by_whom, count, printable, records, utc_now
from mpsctl.render.page import Column, Page, Piece, Style, Table
from mpsctl.views.fleet import Changed, Instance
from mpsctl.views.offsets import Reset
from mpsctl.views.queues import Skipped


def changed_page(changed: Changed, what: str) -> Page:
    """Return a page that tells if the change is confirmed, and which daemons have not confirmed it.

    Args:
        what: the change, such as `paused billing`.
    """
    page = confirmation(Page(), changed, what)
    if changed.replaced is not None:
        now = utc_now()
        until = f", which had {ahead(changed.replaced.until, now)} left" if changed.replaced.until else ""
        page.say(Piece(f"  it replaces the pause {by_whom(changed.replaced.provenance, now)}{until}", Style.WARN))
    return page


def confirmation(page: Page, changed: Changed, what: str, meanwhile: str = "deliveries may still start") -> Page:
    """Add the confirmation of a change to a page.

    Args:
        meanwhile: the effect until all daemons have applied the change.
    """
    number = len(changed.instances)
    if changed.confirmed:
        by = "the daemon" if number == 1 else f"all {number} daemons"
        mark = Piece("- ", Style.DIM) if changed.unchanged else Piece("✓ ", Style.GOOD)
        return page.say(mark, Piece(what), Piece(f"; confirmed by {by}", Style.DIM))
    but = (
        "; but not confirmed by all daemons"
        if changed.unchanged
        else f"; written, but not confirmed by all daemons: until then {meanwhile}"
    )
    page.say(Piece("! ", Style.WARN), Piece(what), Piece(but, Style.WARN))
    for each in changed.instances:
        if (problem := _missing(each, changed.revision)) is not None:
            page.say(Piece(f"  {each.address}: {problem}", Style.BAD))
    return page


def _missing(instance: Instance, revision: int) -> str | None:
    if not instance.answered:
        return f"no answer{': ' + printable(instance.problem) if instance.problem else ''}"
    if instance.control_revision < revision:
        return f"has not applied it yet{': ' + printable(instance.problem) if instance.problem else ''}"
    return None


def skipped_page(skipped: Skipped) -> Page:
    record, dead_letter = skipped.record.name(), skipped.dead_letter.name()
    page = Page()
    if not skipped.replay_id:
        return page.say(Piece("✓ ", Style.GOOD), Piece(f"skipped {record}; it is dead letter {dead_letter} now"))
    blocked = "records" if skipped.blocked_records is None else records(skipped.blocked_records)
    delivers = f"delivers the {blocked} blocked behind it, and releases its key"
    does = "releases its key" if skipped.blocked_records == 0 else delivers
    page.say(
        Piece("✓ ", Style.GOOD),
        Piece(f"skipped {record}, dead letter {dead_letter}; replay {skipped.replay_id} {does}"),
    )
    return page.say(Piece(f"  mpsctl replay show {skipped.replay_id}", Style.DIM))


def reset_page(reset: Reset) -> Page:
    """Return a page with the effect of a reset on each partition."""
    page = Page()
    table = Table(
        Column("partition", flexible=True),
        Column("committed", right=True),
        Column("becomes", right=True),
        Column("repeated", right=True),
        Column("skipped", right=True),
    )
    for each in reset.partitions:
        table.add(
            f"{each.topic}/{each.partition}",
            NONE if each.from_offset is None else str(each.from_offset),
            Piece(str(each.to_offset), Style.STRONG),
            Piece(count(each.repeated_records), Style.WARN if each.repeated_records else Style.DIM),
            Piece(count(each.skipped_records), Style.BAD if each.skipped_records else Style.DIM),
        )
    page.table(table)
    repeated = sum(each.repeated_records for each in reset.partitions)
    skipped = sum(each.skipped_records for each in reset.partitions)
    page.gap().say(
        Piece(f"At most {records(repeated)} delivered again, ", Style.WARN if repeated else Style.PLAIN),
        Piece(f"{records(skipped)} never delivered.", Style.BAD if skipped else Style.PLAIN),
    )
    if reset.changed is not None:
        confirmation(page, reset.changed, f"reset {reset.subscription} as {reset.id}")
    return page
