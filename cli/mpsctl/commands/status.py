"""`status`: the fleet at a glance, once or live."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mpsctl.commands.app import app
from mpsctl.commands.arguments import AnySub
from mpsctl.commands.session import Session, answered, command
from mpsctl.errors import Exit, usage

if TYPE_CHECKING:
    from mpsctl.views.status import Status

SEVERITIES = ("warning", "error")


@command(app, "status")
def status(
    session: Session,
    subscription: AnySub = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it live, until Ctrl-C.")] = False,
    partitions: Annotated[bool, typer.Option("--partitions", "-p", help="List the partitions too.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.5, max=60.0, metavar="SECONDS", help="With --watch: how often.")
    ] = 1.0,
    fail_on: Annotated[
        str,
        typer.Option(
            "--fail-on",
            metavar="STATE[,STATE]",
            help="End with 5 if a partition is in one of these states; warning and error stand for all such states.",
        ),
    ] = "",
) -> Exit:
    r"""Show the fleet at a glance: rates, lag, and the reasons why records wait.

    LAG is in records between the committed offset and the end of the log, AGE that of the first of them; RATE is what
    was accepted over the last 10 s; RETRY what waits for its back-off; DEAD what is in the dead-letter topic and was
    not replayed. Ends with 3 if a daemon does not answer: then its partitions are unknown, sums without them begin with ≥,
    and their lag comes from Kafka. Live, it also draws how rate and lag went lately.

    \b
    Examples:
      mpsctl status
      mpsctl status billing --partitions
      mpsctl status --watch
      mpsctl status billing --fail-on unknown,endpoint-out
      mpsctl status --fail-on error || page-somebody
      mpsctl status --json | jq '.subscriptions[].state'
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.status import status_page
    from mpsctl.views.status import Status

    if watch:
        if fail_on:
            raise usage("--fail-on is of one status, and --watch shows many", "leave one of them out")
        from mpsctl.commands.watch import watch_status

        request = pb.WatchStatusRequest(subscription=subscription, partitions=partitions)
        request.interval.FromMilliseconds(round(interval * 1000))
        return watch_status(session, request)
    question = pb.GetStatusRequest(subscription=subscription, partitions=partitions)
    answer = session.client.ask(session.client.admin.GetStatus, question).status
    named = states_named(fail_on, answer.states)
    view = Status.of(answer)
    session.screen.show(view, lambda: status_page(view, partitions=partitions))
    return Exit.STATE if is_in_any(view, named) else answered(view.instances)


def states_named(given: str, states: Sequence[str]) -> frozenset[str]:
    """Parse states or severities, separated by commas.

    Args:
        states: all that the daemon knows.
    """
    named = frozenset(filter(None, (each.strip() for each in given.split(","))))
    for each in sorted(named - {*states, *SEVERITIES}):
        raise usage(f"--fail-on: {each} is no state", f"states are {', '.join(states)}; or {' or '.join(SEVERITIES)}")
    return named


def is_in_any(status: "Status", named: frozenset[str]) -> bool:
    """Return True if a subscription or partition is in one of the states, or is as bad as one of the severities."""
    bad = {severity for severity in SEVERITIES if named & {severity, "warning"}}
    found = [
        pair
        for each in status.subscriptions
        for pair in (
            (each.state, each.state_severity),
            *((count.state, count.severity) for count in each.partition_states),
        )
    ]
    return any(state in named or severity in bad for state, severity in found)
