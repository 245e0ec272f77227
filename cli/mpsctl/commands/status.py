"""`status`: the fleet at a glance, once or live."""

from typing import Annotated

import typer

from mpsctl.commands.app import app
from mpsctl.commands.arguments import AnySub
from mpsctl.commands.session import Session, answered, command
from mpsctl.errors import Exit


@command(app, "status")
def status(
    session: Session,
    subscription: AnySub = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it live, until Ctrl-C.")] = False,
    partitions: Annotated[bool, typer.Option("--partitions", "-p", help="List the partitions too.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.5, max=60.0, metavar="SECONDS", help="With --watch: how often.")
    ] = 1.0,
) -> Exit:
    r"""The fleet at a glance: what flows, what waits, and why.

    LAG is in records between the committed offset and the end of the log, AGE that of the first of them; RATE is what
    was accepted over the last 10 s; RETRY what waits for its back-off; DEAD what was dead-lettered since the daemons
    started. Ends with 3 if a daemon does not answer: then its part is missing from the sums. Live, it also draws how
    rate and lag went lately.

    \b
    Examples:
      mpsctl status
      mpsctl status billing --partitions
      mpsctl status --watch
      mpsctl status --json | jq '.subscriptions[].state'
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.status import status_page
    from mpsctl.views.status import Status

    if watch:
        from mpsctl.commands.watch import watch_status

        request = pb.WatchStatusRequest(subscription=subscription, partitions=partitions)
        request.interval.FromMilliseconds(round(interval * 1000))
        return watch_status(session, request)
    question = pb.GetStatusRequest(subscription=subscription, partitions=partitions)
    view = Status.of(session.client.ask(session.client.admin.GetStatus, question).status)
    session.screen.show(view, lambda: status_page(view, partitions=partitions))
    return answered(view.instances)
