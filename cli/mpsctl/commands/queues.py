"""`inspect`, `skip`: what waits, and getting one record out of the way."""

from typing import TYPE_CHECKING, Annotated

import typer

from mpsctl.commands.app import app
from mpsctl.commands.arguments import (
    Key,
    KeyBase64,
    Limit,
    PartitionOption,
    Reason,
    RecordArgument,
    Sub,
    Topic,
    Yes,
    new_change,
    record_ref,
    selection,
)
from mpsctl.commands.session import Session, answered, command
from mpsctl.errors import Exit

if TYPE_CHECKING:
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.client import Client
    from mpsctl.views.queues import Queues

PAGE_MAX = 1_000


@command(app, "inspect")
def inspect(
    session: Session,
    subscription: Sub,
    blocked: Annotated[bool, typer.Option("--blocked", "-b", help="Only what holds up a committed offset.")] = False,
    topic: Topic = None,
    partition: PartitionOption = None,
    key: Key = None,
    key_base64: KeyBase64 = None,
    limit: Limit = 20,
    values: Annotated[
        bool, typer.Option("--values", help="Show values, if the daemon's configuration allows it.")
    ] = False,
) -> Exit:
    r"""Show the records in the queues, and the records that hold up the commit of each partition.

    A line is a lane: the records of one key of one partition, of which the first is at work. FOR is how long it will
    yet be so, TRIES the attempts that failed, AGE the time since it was read.

    \b
    Examples:
      mpsctl inspect billing --blocked
      mpsctl inspect billing --partition orders/3 --limit 100
      mpsctl inspect billing --key customer-17 --values
    """
    from mpsctl.render.queues import queues_page

    what = selection(subscription, topic, partition, key, key_base64)
    view = _queues(session.client, what, blocked=blocked, values=values, limit=limit)
    session.screen.show(view, lambda: queues_page(view, values=values))
    return answered(view.instances)


def _queues(client: "Client", what: "pb.Selection", *, blocked: bool, values: bool, limit: int) -> "Queues":
    """Read all pages; daemons and partitions are those of the first page."""
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.views.fleet import Instance
    from mpsctl.views.queues import Lane, Queues
    from mpsctl.views.status import Partition

    request = pb.InspectRequest(selection=what, blocked=blocked, values=values, page_size=min(limit, PAGE_MAX))
    first = answer = client.ask(client.admin.Inspect, request)
    lanes = list(answer.lanes)
    while answer.next_page_token and len(lanes) < limit:
        request.page_token = answer.next_page_token
        request.page_size = min(limit - len(lanes), PAGE_MAX)
        answer = client.ask(client.admin.Inspect, request)
        lanes += answer.lanes
    return Queues(
        lanes=tuple(map(Lane.of, lanes[:limit])),
        more=bool(answer.next_page_token) or len(lanes) > limit,
        partitions=tuple(map(Partition.of, first.partitions)),
        instances=tuple(map(Instance.of, first.instances)),
    )


@command(app, "skip")
def skip(session: Session, subscription: Sub, record: RecordArgument, reason: Reason, yes: Yes = False) -> None:
    r"""Send the record that blocks to the dead-letter topic, now.

    It gets the disposition `skipped`, with the reason, and can be replayed from there. A delivery of it that is under
    way is not waited for. A dead letter that blocks its key may be skipped, too: what is blocked behind it is delivered.
    Asks first; `mpsctl inspect SUB --blocked` says which record it is.

    \b
    Example:
      mpsctl skip billing orders/3@1842 --reason "not a number, ticket 812"
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.changes import skipped_page
    from mpsctl.views.fleet import RecordRef
    from mpsctl.views.queues import Skipped
    from mpsctl.views.values import optional

    ref = record_ref(record)
    name = RecordRef.of(ref).name()
    session.confirm(f"Send {name} of {subscription} to the dead-letter topic, undelivered?", yes=yes)
    request = pb.SkipRequest(change=new_change(reason), subscription=subscription, record=ref)
    answer = session.client.change(session.client.admin.Skip, request)
    view = Skipped(
        request_id=request.change.request_id,
        record=RecordRef.of(ref),
        dead_letter=RecordRef.of(answer.dead_letter),
        replay_id=answer.replay_id,
        blocked_records=optional(answer, "blocked_records"),
    )
    session.screen.show(view, lambda: skipped_page(view))
