"""`pause`, `resume`, `limit`: how much is delivered."""

from typing import TYPE_CHECKING, Annotated

import typer

from mpsctl import parse
from mpsctl.commands.app import app
from mpsctl.commands.arguments import Key, KeyBase64, PartitionOption, Reason, Sub, Topic, new_change, selection
from mpsctl.commands.session import REASON_DEFAULT, Session, command, confirmed
from mpsctl.errors import Exit, usage

if TYPE_CHECKING:
    from mps.admin.v1 import admin_pb2 as pb

PAUSE_S_MIN = 1.0
PAUSE_S_MAX = 30 * 86_400.0


@command(app, "pause")
def pause(
    session: Session,
    subscription: Sub,
    reason: Reason,
    topic: Topic = None,
    partition: PartitionOption = None,
    key: Key = None,
    key_base64: KeyBase64 = None,
    lasts: Annotated[
        float | None,
        typer.Option(
            "--for", parser=parse.duration, metavar="TIME", help="Resume by itself after 30m, 2h, ...; 1s to 30d."
        ),
    ] = None,
) -> Exit:
    r"""Stop deliveries of a subscription, or of a part of it.

    Reading goes on until the queues are full; the daemons stay members of their group, and commits go on. It holds
    for all daemons and over restarts. When this says confirmed, no delivery starts any more; those that had started
    end as they may. Ends with 3 if not all daemons have confirmed it.

    \b
    Examples:
      mpsctl pause billing --reason "database maintenance" --for 30m
      mpsctl pause billing --topic orders --partition 3 --reason "looking at it"
      mpsctl pause billing --key customer-17 --reason "bad data, ticket 812"
    """
    from google.protobuf.duration_pb2 import Duration

    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.changes import changed_page
    from mpsctl.render.words import length as shown
    from mpsctl.render.words import selection as named
    from mpsctl.views.fleet import Changed, Selection

    length = None
    if lasts is not None:
        if not PAUSE_S_MIN <= lasts <= PAUSE_S_MAX:
            raise typer.BadParameter("1s to 30d", param_hint="--for")
        length = Duration()
        length.FromMilliseconds(round(lasts * 1000))
    what = selection(subscription, topic, partition, key, key_base64)
    request = pb.PauseRequest(change=new_change(reason), selection=what, lasts=length)
    answer = session.client.change(session.client.admin.Pause, request)
    view = Changed.of(answer.changed, request.change.request_id)
    ends = f" for {shown(lasts)}" if lasts is not None else ""
    session.screen.show(view, lambda: changed_page(view, f"paused {named(Selection.of(what))}{ends}"))
    return confirmed(view)


@command(app, "resume")
def resume(
    session: Session,
    subscription: Sub,
    topic: Topic = None,
    partition: PartitionOption = None,
    key: Key = None,
    key_base64: KeyBase64 = None,
    reason: Reason = REASON_DEFAULT,
) -> Exit:
    r"""Take back a pause.

    Name exactly what was paused; `mpsctl status` shows it. Nothing is lost or repeated by a pause. To resume what is
    not paused changes nothing, and is said.

    \b
    Examples:
      mpsctl resume billing
      mpsctl resume billing --key customer-17 --reason "data is corrected"
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.changes import changed_page
    from mpsctl.render.words import selection as named
    from mpsctl.views.fleet import Changed, Selection

    what = selection(subscription, topic, partition, key, key_base64)
    request = pb.ResumeRequest(change=new_change(reason), selection=what)
    answer = session.client.change(session.client.admin.Resume, request)
    view = Changed.of(answer.changed, request.change.request_id)
    name = named(Selection.of(what))
    done = f"{name}: nothing to resume, it is not paused" if view.unchanged else f"resumed {name}"
    session.screen.show(view, lambda: changed_page(view, done))
    return confirmed(view)


@command(app, "accept-rejections")
def accept_rejections(session: Session, subscription: Sub, reason: Reason) -> Exit:
    r"""Accept that the application rejects everything, and dead-letter it.

    After `breaker.rejections_max` rejected records in a row, with no success between, a subscription stops
    dead-lettering and is all-rejected: a bad deploy rejects everything, too. One success ends that by itself. If the
    rejections are right, this ends it: rejected records go to the dead-letter topic again until a delivery succeeds,
    for all daemons and over restarts. Where dead-lettering has not stopped it changes nothing, and says so.

    \b
    Examples:
      mpsctl accept-rejections billing --reason "bad import, ticket 812"
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.changes import changed_page
    from mpsctl.views.fleet import Changed

    request = pb.AcceptRejectionsRequest(change=new_change(reason), subscription=subscription)
    answer = session.client.change(session.client.admin.AcceptRejections, request)
    view = Changed.of(answer.changed, request.change.request_id)
    nothing = f"{subscription}: nothing to accept, rejected records are dead-lettered"
    done = nothing if view.unchanged else f"accepted the rejections of {subscription}"
    session.screen.show(view, lambda: changed_page(view, done))
    return confirmed(view)


@command(app, "limit")
def limit(
    session: Session,
    subscription: Sub,
    rate: Annotated[
        float | None,
        typer.Option("--rate", parser=parse.rate, metavar="N/s", help="Deliveries of the fleet: 200/s, 12/m, or none."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", min=1, max=65_536, metavar="N", help="Deliveries at once, of each daemon."),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Go back to what is configured.")] = False,
    reason: Reason = REASON_DEFAULT,
) -> Exit:
    r"""Limit how much is delivered, over what is configured.

    The rate is a total, shared by all daemons. What is not named stays as an operator set it before, else as
    configured. It holds over restarts, until it is cleared.

    \b
    Examples:
      mpsctl limit billing --rate 200/s --reason "the database is slow"
      mpsctl limit billing --rate 50/s --concurrency 16
      mpsctl limit billing --clear
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.changes import changed_page
    from mpsctl.render.words import count
    from mpsctl.render.words import rate as rate_text
    from mpsctl.views.fleet import Changed

    if clear == (rate is not None or concurrency is not None):
        raise usage("say --rate or --concurrency, or --clear to take both back", "mpsctl limit --help has examples")
    request = pb.LimitRequest(change=new_change(reason), subscription=subscription)
    if not clear:
        question = pb.GetStatusRequest(subscription=subscription, scope=pb.SCOPE_INSTANCE)
        for each in session.client.ask(session.client.admin.GetStatus, question).status.subscriptions:
            if each.name == subscription and each.HasField("limit"):
                _keep(request, each.limit)
    if rate is not None:
        request.rate_max_per_s = rate
    if concurrency is not None:
        request.concurrency_max = concurrency
    answer = session.client.change(session.client.admin.Limit, request)
    view = Changed.of(answer.changed, request.change.request_id)
    limits = [
        *(
            [rate_text(request.rate_max_per_s) if request.rate_max_per_s else "any rate"]
            if request.HasField("rate_max_per_s")
            else []
        ),
        *([f"{count(request.concurrency_max)} at once a daemon"] if request.HasField("concurrency_max") else []),
    ]
    cleared = f"{subscription}: no limit to clear" if view.unchanged else f"cleared the limits of {subscription}"
    done = cleared if clear else f"limited {subscription} to {', '.join(limits)}"
    session.screen.show(view, lambda: changed_page(view, done))
    return confirmed(view)


def _keep(request: "pb.LimitRequest", limit: "pb.LimitState") -> None:
    """Keep the limits that are in effect; if somebody changes them meanwhile, the daemon refuses and nothing is lost."""
    if limit.HasField("rate_max_per_s"):
        request.rate_max_per_s = limit.rate_max_per_s
    if limit.HasField("concurrency_max"):
        request.concurrency_max = limit.concurrency_max
    request.change.expected_revision = limit.provenance.revision
