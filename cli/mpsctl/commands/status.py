"""`status`: the state of the fleet, once or live."""

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
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep the screen up to date, until Ctrl-C.")] = False,
    partitions: Annotated[bool, typer.Option("--partitions", "-p", help="List the partitions too.")] = False,
    interval: Annotated[
        float,
        typer.Option(
            "--interval", min=0.5, max=60.0, metavar="SECONDS", help="With --watch: pause between two updates."
        ),
    ] = 1.0,
    fail_on: Annotated[
        str,
        typer.Option(
            "--fail-on",
            metavar="STATE[,STATE]",
            help="End with 5 if a partition is in one of these states; `error` means every error, `warning` also every warning.",
        ),
    ] = "",
) -> Exit:
    r"""Show subscriptions, daemons, and why records wait.

    LAG is the number of records between the committed offset and the end of the log, and AGE the age of the first of
    them. RATE is the number of records accepted per second, over the last 10 s. FLIGHT counts records that the
    application has, PENDING all records that are read and not settled, RETRY records that wait for their next attempt,
    and DEAD the dead letters that no replay has settled.

    Ends with 3 if a daemon does not answer. The state of its partitions is then unknown: sums without them begin with
    ≥, and their lag comes from Kafka. --watch also draws the recent rate and lag.

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
            raise usage("--fail-on and --watch cannot be combined", "leave one of them out")
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
        states: all states that the daemon knows.
    """
    named = frozenset(filter(None, (each.strip() for each in given.split(","))))
    for each in sorted(named - {*states, *SEVERITIES}):
        raise usage(f"--fail-on: {each} is no state", f"give one of {', '.join(states)}; or {' or '.join(SEVERITIES)}")
    return named


def is_in_any(status: "Status", named: frozenset[str]) -> bool:
    """Return True if a subscription or partition is in one of the states, or has one of the severities or a worse one."""
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
