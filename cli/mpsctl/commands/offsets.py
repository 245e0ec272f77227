"""`reset`: moving committed offsets."""

from typing import TYPE_CHECKING, Annotated

import typer

from mpsctl import parse
from mpsctl.commands.app import app
from mpsctl.commands.arguments import Reason, Sub, Yes, new_change, record_ref
from mpsctl.commands.session import REASON_DEFAULT, Session, command, confirmed
from mpsctl.errors import Exit

if TYPE_CHECKING:
    from mps.admin.v1 import admin_pb2 as pb


@command(app, "reset")
def reset(
    session: Session,
    subscription: Sub,
    to: Annotated[
        str,
        typer.Option("--to", metavar="TARGET", help="earliest, latest, a time, or offsets: orders/0@100,orders/1@200."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show the effect, and change nothing.")] = False,
    reason: Reason = REASON_DEFAULT,
    yes: Yes = False,
) -> Exit:
    r"""Move the committed offsets of a subscription.

    The daemons keep running: the owner of each partition drains it, commits the new offset, and reads on from there. A
    time is 2h (ago), 2026-11-22T14:00:00Z, or 2026-11-22T14:00 in local time. Offsets move only the partitions that you
    list. The command shows how many records would be delivered again or skipped, and asks for confirmation.

    \b
    Examples:
      mpsctl reset billing --to 2h --dry-run
      mpsctl reset billing --to 2026-11-22T14:00:00Z --reason "bad deploy"
      mpsctl reset billing --to orders/3@1842
      mpsctl reset billing --to latest --yes
    """
    from mpsctl.render.changes import reset_page
    from mpsctl.views.fleet import Changed
    from mpsctl.views.offsets import Reset

    request = _request(subscription, to)
    client = session.client
    if dry_run or not yes:
        request.dry_run = True
        request.change.CopyFrom(new_change(reason))
        preview = Reset.of(
            client.ask(client.admin.Reset, request), subscription=subscription, dry_run=True, changed=None
        )
        if dry_run:
            session.screen.show(preview, lambda: reset_page(preview))
            return Exit.DONE
        if not session.screen.as_json:
            session.screen.page(reset_page(preview))
        session.confirm(f"Reset {subscription} to {to}?", yes=False)
    request.dry_run = False
    request.change.CopyFrom(new_change(reason))
    answer = client.change(client.admin.Reset, request)
    changed = Changed.of(answer.changed, request_id=request.change.request_id)
    view = Reset.of(answer, subscription=subscription, dry_run=False, changed=changed)
    session.screen.show(view, lambda: reset_page(view))
    return confirmed(changed)


def _request(subscription: str, to: str) -> "pb.ResetRequest":
    """Return the request for the target that the text names."""
    from mps.admin.v1 import admin_pb2 as pb

    request = pb.ResetRequest(subscription=subscription)
    match to.strip().lower():
        case "earliest":
            request.edge = pb.LOG_EDGE_EARLIEST
        case "latest":
            request.edge = pb.LOG_EDGE_LATEST
        case text if "@" in text:
            request.offsets.offsets.extend(record_ref(each) for each in parse.offsets(to))
        case _:
            try:
                request.time.FromDatetime(parse.moment(to))
            except typer.BadParameter as error:
                known = "future" in error.message or "long ago" in error.message
                expected = (
                    f"{to!r} is neither earliest, latest, a time (2h, 2026-11-22T14:00:00Z) nor offsets (orders/3@1842)"
                )
                raise typer.BadParameter(error.message if known else expected, param_hint="--to") from None
    return request
