"""Lanes, and the records that block commits."""

from collections.abc import Iterator
from datetime import datetime

from mpsctl.render.formats import ago, ahead, body, clock, count, key, number, printable, record, records, span, utc_now
from mpsctl.render.page import MORE, Column, Page, Piece, Style, Table
from mpsctl.render.status import state_piece
from mpsctl.views.fleet import RecordRef
from mpsctl.views.queues import Lane, Queues
from mpsctl.views.status import Partition


def queues_page(queues: Queues, *, values: bool) -> Page:
    """Return a page of lanes, and of the record that blocks the commit of each partition that lags."""
    page, now = Page(), utc_now()
    if queues.lanes:
        page.table(_lanes(queues, now, values=values))
    else:
        page.say(Piece("No records are queued.", Style.DIM))
    if queues.more:
        page.say(MORE)
    blockers = _blockers(queues)
    explained = [each for each in queues.partitions if each.state_reason or each.lag_records]
    if explained:
        page.gap().say(Piece("WHY THE COMMITTED OFFSET DOES NOT MOVE", Style.TITLE))
        for partition in explained:
            page.say(*_why(partition, blockers.get((partition.topic, partition.partition)), now))
    for each in queues.instances:
        if not each.answered:
            page.say(Piece(f"{each.address} does not answer: {printable(each.problem)}", Style.BAD))
    return page


def _lanes(queues: Queues, now: datetime, *, values: bool) -> Table:
    table = Table(
        Column("head", flexible=True),
        Column("key", flexible=True),
        Column("records", right=True),
        Column("state"),
        Column("for", right=True),
        Column("tries", right=True),
        Column("age", right=True),
    )
    for lane in queues.lanes:
        table.add(
            Piece(record(lane.head), Style.STRONG if lane.blocks_commit else Style.PLAIN),
            key(lane.key, lane.key_base64, hidden=lane.content_hidden),
            count(lane.records),
            state_piece(lane.state, lane.severity),
            ahead(lane.until, now),
            count(lane.attempts),
            span((now - lane.read_at).total_seconds()) if lane.read_at else "-",
            notes=_notes(lane, values=values),
        )
    return table


def _notes(lane: Lane, *, values: bool) -> Iterator[Piece]:
    if lane.blocks_commit:
        yield Piece("blocks the commit", Style.WARN)
    if lane.last_outcome:
        yield Piece(f"last: {printable(lane.last_outcome)}", Style.DIM)
    if values:
        yield Piece(f"value: {body(lane.value, lane.value_base64)}")


def _blockers(queues: Queues) -> dict[tuple[str, int], Lane]:
    """Return by partition the lane with the lowest head that blocks the commit."""
    found: dict[tuple[str, int], Lane] = {}
    for lane in queues.lanes:
        partition = (lane.head.topic, lane.head.partition)
        if lane.blocks_commit and (partition not in found or lane.head.offset < found[partition].head.offset):
            found[partition] = lane
    return found


def _why(partition: Partition, lane: Lane | None, now: datetime) -> list[Piece]:
    name = Piece(f"{partition.topic}/{partition.partition}", Style.STRONG)
    stands = f" stands at {partition.next_offset}" if partition.next_offset is not None else " has no commit yet"
    behind = f", {records(partition.lag_records)} before the log end" if partition.lag_records is not None else ""
    if partition.flow is None:
        known = f"{stands}{behind}" if behind else ""
        return [name, Piece(f"{known}: {printable(partition.state_reason)}", Style.BAD)]
    if lane is None:
        why = printable(partition.state_reason) or _flowing(partition)
        return [name, Piece(f"{stands}{behind}: {why}")]
    state = state_piece(lane.state, lane.severity)
    until = f" for another {ahead(lane.until, now)} (until {clock(lane.until, now)})" if lane.until else ""
    attempts = f", {number(lane.attempts, 'failed attempt')}" if lane.attempts else ""
    read = f", read {ago(lane.read_at, now)}"
    pieces = [name, Piece(f"{stands}{behind}: {record(lane.head)}: "), state, Piece(f"{until}{attempts}{read}")]
    if lane.last_outcome:
        pieces.append(Piece(f"; last: {printable(lane.last_outcome)}"))
    return pieces


def _flowing(partition: Partition) -> str:
    oldest: RecordRef | None = partition.flow.oldest if partition.flow else None
    return (
        f"{record(oldest)} is the oldest record that is not settled"
        if oldest
        else "no record blocks it; the next records are not read yet"
    )
