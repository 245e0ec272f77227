"""`dlq ls`, `dlq show`: what is dead, and why."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mpsctl.commands.app import group
from mpsctl.commands.arguments import Filter, Limit, RecordArgument, Sub, record_ref
from mpsctl.commands.session import Session, command

if TYPE_CHECKING:
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.client import Client
    from mpsctl.views.dead_letters import DeadLetters

PAGE_MAX = 1_000
READING = "reading the dead letters"
GROUPS_MAX = 1_000
"""Groups in one answer at most: the daemon counts the rest together."""


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
dlq = group("dlq", "What is dead, and why.", EXAMPLE)


@command(dlq, "ls")
def ls(
    session: Session,
    subscription: Sub,
    of: Filter,
    group_by: Annotated[
        Grouping, typer.Option("--group-by", metavar="WORD", help=f"Count together by {', '.join(Grouping)}.")
    ] = Grouping.REASON,
    each: Annotated[bool, typer.Option("--each", help="List them one by one instead, newest first.")] = False,
    limit: Limit = 100,
) -> None:
    r"""List dead letters: counted by reason, with first and last time and a sample.

    \b
    Examples:
      mpsctl dlq ls billing --since 2h
      mpsctl dlq ls billing --group-by key --status 422
      mpsctl dlq ls billing --each --reason-contains "not a number" --limit 10
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.dead_letters import dead_letters_page, summary_page
    from mpsctl.views.dead_letters import Group, Summary
    from mpsctl.views.values import number_of

    wanted = of.message()
    if each:
        with session.screen.waiting(READING):
            dead_letters = _each(session.client, subscription, wanted, limit)
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
    view = Summary(
        subscription=subscription,
        groups=tuple(map(Group.of, answer.groups)),
        other_records=answer.other_records,
        incomplete=answer.incomplete,
    )
    session.screen.show(view, lambda: summary_page(view))


def _each(client: "Client", subscription: str, wanted: "pb.DeadLetterFilter", limit: int) -> "DeadLetters":
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.views.dead_letters import DeadLetter, DeadLetters

    request = pb.ListDeadLettersRequest(subscription=subscription, filter=wanted, page_size=min(limit, PAGE_MAX))
    answer = client.ask(client.admin.ListDeadLetters, request)
    found = list(answer.dead_letters)
    while answer.next_page_token and len(found) < limit:
        request.page_token = answer.next_page_token
        answer = client.ask(client.admin.ListDeadLetters, request)
        found += answer.dead_letters
    return DeadLetters(
        subscription=subscription,
        dead_letters=tuple(map(DeadLetter.of, found[:limit])),
        more=bool(answer.next_page_token) or len(found) > limit,
    )


@command(dlq, "show")
def show(
    session: Session,
    subscription: Sub,
    record: RecordArgument,
    values: Annotated[
        bool, typer.Option("--values", help="Show its value, if the daemon's configuration allows it.")
    ] = False,
) -> None:
    r"""Show one dead letter in full, named by its source record.

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
