"""`pause`, `resume`, `accept-rejections`, `limit`: what is delivered, and how fast."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsctl import parse
from mpsctl.commands.app import app
from mpsctl.commands.arguments import Key, KeyBase64, PartitionOption, Rate, Reason, Sub, Topic, new_change, selection
from mpsctl.commands.session import REASON_DEFAULT, Session, command, confirmed
from mpsctl.errors import Exit, usage

if TYPE_CHECKING:
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.views.fleet import Changed

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
            "--for",
            parser=parse.duration,
            metavar="TIME",
            help="End the pause after this time, 1s to 30d; without it the pause lasts until `mpsctl resume`.",
        ),
    ] = None,
) -> Exit:
    r"""Stop deliveries of a subscription or a part of it.

    The pause applies to all daemons and survives restarts. Once the command says "confirmed", no delivery starts any
    more; deliveries in flight still end. The daemons go on reading until their queues are full, and go on committing.
    Ends with 3 if not all daemons have confirmed the pause.

    \b
    Examples:
      mpsctl pause billing --reason "database maintenance" --for 30m
      mpsctl pause billing --topic orders --partition 3 --reason "looking at it"
      mpsctl pause billing --key customer-17 --reason "bad data, ticket 812"
    """
    from google.protobuf.duration_pb2 import Duration

    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.formats import length, selection_text
    from mpsctl.views.fleet import Selection

    duration = None
    if lasts is not None:
        if not PAUSE_S_MIN <= lasts <= PAUSE_S_MAX:
            raise typer.BadParameter("1s to 30d", param_hint="--for")
        duration = Duration()
        duration.FromMilliseconds(round(lasts * 1000))
    scope = selection(subscription, topic, partition, key, key_base64)
    request = pb.PauseRequest(change=new_change(reason), selection=scope, lasts=duration)
    ends = f" for {length(lasts)}" if lasts is not None else ""
    done = f"paused {selection_text(Selection.of(scope))}{ends}"
    return _change(session, session.client.admin.Pause, request, lambda _: done)


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
    r"""End a pause.

    Give the same topic, partition or key as the pause; `mpsctl status` shows it. A pause loses no record and repeats
    none. If there is no such pause, the command changes nothing and says so.

    \b
    Examples:
      mpsctl resume billing
      mpsctl resume billing --key customer-17 --reason "data is corrected"
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.formats import selection_text
    from mpsctl.views.fleet import Selection

    scope = selection(subscription, topic, partition, key, key_base64)
    request = pb.ResumeRequest(change=new_change(reason), selection=scope)
    name = selection_text(Selection.of(scope))

    def done(changed: "Changed") -> str:
        return f"{name}: nothing to resume, it is not paused" if changed.unchanged else f"resumed {name}"

    return _change(session, session.client.admin.Resume, request, done)


@command(app, "accept-rejections")
def accept_rejections(session: Session, subscription: Sub, reason: Reason) -> Exit:
    r"""Let rejected records be dead-lettered again.

    After `breaker.rejections_max` rejected records in a row, a subscription stops dead-lettering and goes into the
    state all-rejected, because the cause may be a bad deployment. A success ends the state. If the rejections are
    right, run this command: then rejected records go to the dead-letter topic until a delivery succeeds. It applies to
    all daemons and survives restarts. In any other state the command changes nothing and says so.

    \b
    Examples:
      mpsctl accept-rejections billing --reason "bad import, ticket 812"
    """
    from mps.admin.v1 import admin_pb2 as pb

    def done(changed: "Changed") -> str:
        nothing = f"{subscription}: nothing to accept, rejected records are dead-lettered"
        return nothing if changed.unchanged else f"accepted the rejections of {subscription}"

    request = pb.AcceptRejectionsRequest(change=new_change(reason), subscription=subscription)
    return _change(session, session.client.admin.AcceptRejections, request, done)


@command(app, "limit")
def limit(
    session: Session,
    subscription: Sub,
    rate: Rate = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            min=1,
            max=65_536,
            metavar="N",
            help="Largest number of deliveries in flight, of each daemon.",
        ),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Return to the configured limits.")] = False,
    reason: Reason = REASON_DEFAULT,
) -> Exit:
    r"""Limit the rate and the number of deliveries.

    --rate replaces the configured rate. --concurrency cannot exceed the configured number. A limit that you do not give
    stays as it is. The limits apply to all daemons and survive restarts, until you clear them.

    \b
    Examples:
      mpsctl limit billing --rate 200/s --reason "the database is slow"
      mpsctl limit billing --rate 50/s --concurrency 16
      mpsctl limit billing --clear
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.formats import limit_text

    if clear == (rate is not None or concurrency is not None):
        raise usage("give --rate or --concurrency, or --clear to end both limits", "mpsctl limit --help has examples")
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

    def done(changed: "Changed") -> str:
        if clear and changed.unchanged:
            return f"{subscription}: no limit to clear"
        if clear:
            return f"cleared the limits of {subscription}"
        rate_max_per_s = request.rate_max_per_s if request.HasField("rate_max_per_s") else None
        return f"limited {subscription} to {limit_text(rate_max_per_s, request.concurrency_max or None)}"

    return _change(session, session.client.admin.Limit, request, done)


def _keep(request: "pb.LimitRequest", limit: "pb.LimitState") -> None:
    """Keep the limits that are in effect; if somebody changes them meanwhile, the daemon refuses and nothing is lost."""
    if limit.HasField("rate_max_per_s"):
        request.rate_max_per_s = limit.rate_max_per_s
    if limit.HasField("concurrency_max"):
        request.concurrency_max = limit.concurrency_max
    request.change.expected_revision = limit.provenance.revision


def _change(session: Session, method: Any, request: Any, done: "Callable[[Changed], str]") -> Exit:
    """Make a change, and show its result.

    Args:
        done: describes the change that was made, such as `paused billing`.
    """
    from mpsctl.render.changes import changed_page
    from mpsctl.views.fleet import Changed

    answer = session.client.change(method, request)
    view = Changed.of(answer.changed, request_id=request.change.request_id)
    session.screen.show(view, lambda: changed_page(view, done(view)))
    return confirmed(view)
