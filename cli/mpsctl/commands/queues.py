"""`inspect`, `skip`: the records that wait, and sending one of them to the dead-letter topic."""

from typing import Annotated

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


@command(app, "inspect")
def inspect(
    session: Session,
    subscription: Sub,
    blocked: Annotated[
        bool, typer.Option("--blocked", "-b", help="Only records that block a committed offset.")
    ] = False,
    topic: Topic = None,
    partition: PartitionOption = None,
    key: Key = None,
    key_base64: KeyBase64 = None,
    limit: Limit = 20,
    values: Annotated[
        bool, typer.Option("--values", help="Show values too, if the daemon's configuration allows it.")
    ] = False,
) -> Exit:
    r"""Show queued records, and what blocks each commit.

    Each line is a lane, which is the records of one key in one partition. HEAD is its first record, STATE the state of
    that record, FOR the time until the state ends, TRIES the number of failed attempts, and AGE the time since the
    record was read.

    \b
    Examples:
      mpsctl inspect billing --blocked
      mpsctl inspect billing --partition orders/3 --limit 100
      mpsctl inspect billing --key customer-17 --values
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.queues import queues_page
    from mpsctl.views.fleet import Instance
    from mpsctl.views.queues import Lane, Queues
    from mpsctl.views.status import Partition

    scope = selection(subscription, topic, partition, key, key_base64)
    request = pb.InspectRequest(selection=scope, blocked=blocked, values=values)
    pages = session.client.collect(session.client.admin.Inspect, request, "lanes", limit)
    view = Queues(
        lanes=tuple(map(Lane.of, pages.entries)),
        more=pages.more,
        partitions=tuple(map(Partition.of, pages.first.partitions)),
        instances=tuple(map(Instance.of, pages.first.instances)),
    )
    session.screen.show(view, lambda: queues_page(view, values=values))
    return answered(view.instances)


@command(app, "skip")
def skip(session: Session, subscription: Sub, record: RecordArgument, reason: Reason, yes: Yes = False) -> None:
    r"""Send one record to the dead-letter topic now.

    `mpsctl inspect SUB --blocked` shows the records that block a commit. The dead letter has the disposition `skipped`
    and your reason, and can be replayed later. If the application has the record at the moment, the command waits for
    the answer; an accepted record is not skipped. If the record is already a dead letter that blocks its key, the
    command delivers the records behind it. Asks for confirmation.

    \b
    Example:
      mpsctl skip billing orders/3@1842 --reason "not a number, ticket 812"
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.changes import skipped_page
    from mpsctl.views.fleet import RecordRef
    from mpsctl.views.queues import Skipped

    ref = record_ref(record)
    name = RecordRef.of(ref).name()
    session.confirm(f"Send {name} of {subscription} to the dead-letter topic, undelivered?", yes=yes)
    request = pb.SkipRequest(change=new_change(reason), subscription=subscription, record=ref)
    answer = session.client.change(session.client.admin.Skip, request)
    view = Skipped.of(answer, request_id=request.change.request_id, record=RecordRef.of(ref))
    session.screen.show(view, lambda: skipped_page(view))
