"""`dlq ls`, `dlq show`: the dead letters and their reasons."""

from enum import StrEnum
from typing import Annotated

import typer

from mpsctl.commands.app import group
from mpsctl.commands.arguments import Filter, Limit, RecordArgument, Sub, record_ref
from mpsctl.commands.session import Session, command

READING = "reading the dead letters"
GROUPS_MAX = 1_000
"""Largest number of groups in an answer; the daemon counts the others together."""


class Grouping(StrEnum):
    """The property by which dead letters are counted."""

    REASON = "reason"
    DISPOSITION = "disposition"
    STATUS = "status"
    PARTITION = "partition"
    KEY = "key"


EXAMPLE = """\b
Examples:
  mpsctl dlq ls billing
  mpsctl dlq show billing orders/3@1842
"""
dlq = group("dlq", "List dead letters, and show why they are there.", EXAMPLE)


@command(dlq, "ls")
def ls(
    session: Session,
    subscription: Sub,
    of: Filter,
    group_by: Annotated[
        Grouping, typer.Option("--group-by", metavar="WORD", help=f"Property to count by: {', '.join(Grouping)}.")
    ] = Grouping.REASON,
    each: Annotated[bool, typer.Option("--each", help="List dead letters one by one, the newest first.")] = False,
    limit: Limit = 100,
) -> None:
    r"""Count dead letters by reason, or list them.

    Each group has the time of its first and its last dead letter, and the position of one of them.

    \b
    Examples:
      mpsctl dlq ls billing --since 2h
      mpsctl dlq ls billing --group-by key --status 422
      mpsctl dlq ls billing --each --reason-contains "not a number" --limit 10
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.dead_letters import dead_letters_page, summary_page
    from mpsctl.views.dead_letters import DeadLetter, DeadLetters, Summary
    from mpsctl.views.values import number_of

    wanted = of.message()
    if each:
        asked = pb.ListDeadLettersRequest(subscription=subscription, filter=wanted)
        with session.screen.waiting(READING):
            pages = session.client.collect(session.client.admin.ListDeadLetters, asked, "dead_letters", limit)
        found = tuple(map(DeadLetter.of, pages.entries))
        dead_letters = DeadLetters(subscription=subscription, dead_letters=found, more=pages.more)
        session.screen.show(dead_letters, lambda: dead_letters_page(dead_letters))
        return
    request = pb.SummarizeDeadLettersRequest(
        subscription=subscription,
        filter=wanted,
        grouping=pb.DeadLetterGrouping.ValueType(number_of(pb.DeadLetterGrouping, group_by)),
        groups_max=min(limit, GROUPS_MAX),
    )
    with session.screen.waiting(READING):
        answer = session.client.ask(session.client.admin.SummarizeDeadLetters, request)
    view = Summary.of(answer, subscription=subscription)
    session.screen.show(view, lambda: summary_page(view))


@command(dlq, "show")
def show(
    session: Session,
    subscription: Sub,
    record: RecordArgument,
    values: Annotated[
        bool, typer.Option("--values", help="Show the value too, if the daemon's configuration allows it.")
    ] = False,
) -> None:
    r"""Show one dead letter in full.

    Name it by its source record, as `mpsctl dlq ls --each` shows it.

    \b
    Example:
      mpsctl dlq show billing orders/3@1842
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.dead_letters import dead_letter_page
    from mpsctl.views.dead_letters import WholeDeadLetter

    request = pb.GetDeadLetterRequest(subscription=subscription, source=record_ref(record), values=values)
    with session.screen.waiting(READING):
        view = WholeDeadLetter.of(session.client.ask(session.client.admin.GetDeadLetter, request))
    session.screen.show(view, lambda: dead_letter_page(view, values=values))
