"""`replay-dlq`, `replay …`: delivering dead letters again."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mpsctl.commands.app import app, group
from mpsctl.commands.arguments import AnySub, Filter, Limit, Rate, Reason, Sub, Yes, new_change
from mpsctl.commands.session import REASON_DEFAULT, Session, command, confirmed
from mpsctl.errors import CommandError, Exit

if TYPE_CHECKING:
    from mpsctl.views.replays import Preview


class Target(StrEnum):
    """The target of a replay."""

    APPLICATION = "application"
    TOPIC = "topic"


Wait = Annotated[bool, typer.Option("--wait", help="Show the progress until the replay ends.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the replay, from `mpsctl replay ls`.")]


@command(app, "replay-dlq")
def replay_dlq(
    session: Session,
    subscription: Sub,
    of: Filter,
    limit: Annotated[int, typer.Option("--limit", min=0, metavar="N", help="Replay at most N records; 0: all.")] = 0,
    to: Annotated[
        Target,
        typer.Option(
            "--to",
            metavar="application|topic",
            help="Target; if it is the source topic, every group receives the records again.",
        ),
    ] = Target.APPLICATION,
    rate: Rate = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show the records that would be replayed, and replay nothing.")
    ] = False,
    wait: Wait = False,
    again: Annotated[bool, typer.Option("--again", help="Replay also dead letters that were replayed before.")] = False,
    include_quarantined: Annotated[
        bool,
        typer.Option(
            "--include-quarantined", help="Replay also dead letters that failed in `dead_letter.replays_max` replays."
        ),
    ] = False,
    reason: Reason = REASON_DEFAULT,
    yes: Yes = False,
) -> Exit:
    r"""Deliver dead letters again, in the order of each key.

    The options select the dead letters; without any, all that the topic has now are replayed. The replay is a task of
    the daemons: it goes on when this command ends, and when a daemon restarts. The command shows a preview and asks
    for confirmation. Ends with 3 if not all daemons have confirmed the start.

    \b
    Examples:
      mpsctl replay-dlq billing --status 422 --since 2h --dry-run
      mpsctl replay-dlq billing --status 422 --since 2h --rate 200/s --wait
      mpsctl replay-dlq billing --key customer-17 --yes
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.replays import preview_page, replay_page
    from mpsctl.views.fleet import Changed
    from mpsctl.views.replays import Plan, Preview, Replay
    from mpsctl.views.values import number_of

    plan = pb.ReplayPlan(
        subscription=subscription,
        filter=of.message(),
        target=pb.ReplayTarget.ValueType(number_of(pb.ReplayTarget, to)),
        rate_max_per_s=rate or 0.0,
        records_max=limit,
        again=again,
        include_quarantined=include_quarantined,
    )
    if dry_run or not yes:
        question = pb.PreviewReplayRequest(plan=plan)
        with session.screen.waiting("reading the dead letters"):
            answer = session.client.ask(session.client.admin.PreviewReplay, question)
        preview = Preview.of(answer, plan=Plan.of(plan))
        if dry_run:
            session.screen.show(preview, lambda: preview_page(preview))
            return Exit.DONE
        if not session.screen.as_json:
            session.screen.page(preview_page(preview))
        if not preview.matched_records and not preview.incomplete:
            raise CommandError("there is nothing to replay", code="nothing_to_replay")
        session.confirm(_question(preview), yes=False)
    elif to is Target.TOPIC:
        session.screen.remark(
            "mpsctl: the records are written into their source topic, where EVERY group receives them"
        )
    request = pb.StartReplayRequest(change=new_change(reason), plan=plan)
    started = session.client.change(session.client.admin.StartReplay, request)
    if wait:
        from mpsctl.commands.progress import wait_for

        return wait_for(session, started.replay)
    changed = Changed.of(started.changed, request_id=request.change.request_id)
    view = Replay.of(started.replay, changed=changed)
    session.screen.show(view, lambda: replay_page(view))
    return confirmed(changed)


def _question(preview: "Preview") -> str:
    from mpsctl.render.formats import records

    number = f"{records(preview.matched_records)}{' or more' if preview.incomplete else ''}"
    if preview.plan.target == "topic":
        return f"Write {number} into the source topic again, where EVERY group receives them?"
    return f"Deliver {number} to the application of {preview.plan.subscription} again?"


EXAMPLE = """\b
Examples:
  mpsctl replay ls billing
  mpsctl replay show r100509bc3c46
  mpsctl replay pause r100509bc3c46
"""
replay = group("replay", "Show and control replays that run or have ended.", EXAMPLE)


@command(replay, "ls")
def ls(session: Session, subscription: AnySub = "", limit: Limit = 20) -> None:
    r"""List replays, the newest first.

    \b
    Example:
      mpsctl replay ls billing
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.replays import replays_page
    from mpsctl.views.replays import Replay, Replays

    request = pb.ListReplaysRequest(subscription=subscription)
    pages = session.client.collect(session.client.admin.ListReplays, request, "replays", limit)
    view = Replays(replays=tuple(map(Replay.of, pages.entries)), more=pages.more)
    session.screen.show(view, lambda: replays_page(view))


@command(replay, "show")
def show(
    session: Session,
    id_: Id,
    wait: Wait = False,
) -> Exit:
    r"""Show one replay and its progress.

    \b
    Examples:
      mpsctl replay show r100509bc3c46
      mpsctl replay show r100509bc3c46 --wait
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.replays import replay_page
    from mpsctl.views.replays import Replay

    answer = session.client.ask(session.client.admin.GetReplay, pb.GetReplayRequest(id=id_))
    if wait:
        from mpsctl.commands.progress import wait_for

        return wait_for(session, answer.replay)
    view = Replay.of(answer.replay)
    session.screen.show(view, lambda: replay_page(view))
    return Exit.DONE


@command(replay, "pause")
def pause(session: Session, id_: Id, reason: Reason = REASON_DEFAULT) -> Exit:
    r"""Pause a replay.

    Records that it has sent are still settled.

    \b
    Example:
      mpsctl replay pause r100509bc3c46 --reason "the application is slow"
    """
    return _control(session, id_, "pause", reason)


@command(replay, "resume")
def resume(session: Session, id_: Id, reason: Reason = REASON_DEFAULT) -> Exit:
    r"""Resume a paused replay.

    \b
    Example:
      mpsctl replay resume r100509bc3c46
    """
    return _control(session, id_, "resume", reason)


@command(replay, "cancel")
def cancel(session: Session, id_: Id, reason: Reason = REASON_DEFAULT, yes: Yes = False) -> Exit:
    r"""End a replay for good.

    Records that it has sent are still settled. Asks for confirmation.

    \b
    Example:
      mpsctl replay cancel r100509bc3c46 --reason "wrong filter"
    """
    session.confirm(f"End replay {id_} for good?", yes=yes)
    return _control(session, id_, "cancel", reason)


def _control(session: Session, id_: str, action: str, reason: str) -> Exit:
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.replays import replay_page
    from mpsctl.views.fleet import Changed
    from mpsctl.views.replays import Replay
    from mpsctl.views.values import number_of

    number = pb.ReplayAction.ValueType(number_of(pb.ReplayAction, action))
    request = pb.ControlReplayRequest(change=new_change(reason), id=id_, action=number)
    answer = session.client.change(session.client.admin.ControlReplay, request)
    changed = Changed.of(answer.changed, request_id=request.change.request_id)
    view = Replay.of(answer.replay, changed=changed)
    session.screen.show(view, lambda: replay_page(view))
    return confirmed(changed)
