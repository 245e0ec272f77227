"""Arguments and options that several commands have, and the messages that are made of them."""

import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mpsctl import parse

if TYPE_CHECKING:
    from mps.admin.v1 import admin_pb2 as pb

COMPLETION_S = 0.5
"""Time limit of a completion, because the shell hangs meanwhile."""


class Disposition(StrEnum):
    """The reason why a record was dead-lettered, as in the delivery contract."""

    ATTEMPTS_EXHAUSTED = "attempts-exhausted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNDELIVERABLE = "undeliverable"
    SKIPPED = "skipped"
    BLOCKED = "blocked"


def names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of subscriptions that begin with the text; none if the daemon does not answer at once."""
    with suppress(Exception):  # a completion must not print errors
        from mps.admin.v1 import admin_pb2 as pb
        from mpsctl.client import Client
        from mpsctl.settings import load

        given = {**context.find_root().params, **{key: value for key, value in context.params.items() if value}}
        flags = {key: given.get(key) for key in ("address", "context", "token_file", "tls", "ca", "cert", "insecure")}
        with Client(load({**flags, "key": given.get("cert_key")})) as client:
            request = pb.GetStatusRequest(scope=pb.SCOPE_INSTANCE)
            answer = client.ask(client.admin.GetStatus, request, COMPLETION_S)
        return [each.name for each in answer.status.subscriptions if each.name.startswith(incomplete)]
    return []


SUB_HELP = "Name of the subscription."
Sub = Annotated[str, typer.Argument(metavar="SUB", help=SUB_HELP, autocompletion=names)]
AnySub = Annotated[
    str, typer.Argument(metavar="SUB", help="Only this subscription.", show_default=False, autocompletion=names)
]
Reason = Annotated[
    str, typer.Option("--reason", parser=parse.reason, metavar="TEXT", help="Reason, shown by log, audit and status.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        parser=parse.rate,
        metavar="N/s",
        help="Largest rate of all daemons together: 200/s, 12/m, or none for no limit.",
    ),
]
Topic = Annotated[str | None, typer.Option("--topic", metavar="TOPIC", help="Only this topic.")]
PartitionOption = Annotated[
    parse.Partition | None,
    typer.Option(
        "--partition", parser=parse.partition, metavar="[TOPIC/]P", help="Only this partition, such as orders/3."
    ),
]
Key = Annotated[str | None, typer.Option("--key", metavar="TEXT", help="Only this key.")]
KeyBase64 = Annotated[
    str | None, typer.Option("--key-base64", metavar="BASE64", help="Only this key, given in base64.")
]
RecordArgument = Annotated[
    parse.RecordName,
    typer.Argument(parser=parse.record, metavar="RECORD", help="TOPIC/PARTITION@OFFSET, such as orders/3@1842."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, metavar="N", help="Show at most N entries.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        parser=parse.moment,
        metavar="TIME",
        help="Only from this time on: 2h (ago), or 2026-11-22T14:00:00Z.",
    ),
]
Until = Annotated[
    datetime | None, typer.Option("--until", parser=parse.moment, metavar="TIME", help="Only before this time.")
]
Dispositions = Annotated[
    list[Disposition] | None,
    typer.Option("--disposition", metavar="WORD", help=f"Only this disposition: {', '.join(Disposition)}; repeatable."),
]
Statuses = Annotated[
    list[int] | None,
    typer.Option("--status", min=0, max=599, metavar="CODE", help="Only this status of the last answer; repeatable."),
]
ReasonContains = Annotated[
    str, typer.Option("--reason-contains", metavar="TEXT", help="Only reasons that contain this text.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The options of each command that selects dead letters."""

    since: Since = None
    until: Until = None
    disposition: Dispositions = None
    status: Statuses = None
    reason_contains: ReasonContains = ""
    topic: Topic = None
    partition: PartitionOption = None
    key: Key = None
    key_base64: KeyBase64 = None

    def message(self) -> "pb.DeadLetterFilter":
        """Return the options as a message of the admin service."""
        from mps.admin.v1 import admin_pb2 as pb
        from mpsctl.views.values import number_of

        topic, number = topic_and_partition(self.topic, self.partition)
        found = pb.DeadLetterFilter(
            dispositions=[pb.Disposition.ValueType(number_of(pb.Disposition, each)) for each in self.disposition or ()],
            statuses=list(self.status or ()),
            reason_contains=self.reason_contains,
            topic=topic or "",
            partition=number,
            key=parse.key(self.key, self.key_base64),
        )
        if self.since is not None:
            found.since.FromDatetime(self.since)
        if self.until is not None:
            found.until.FromDatetime(self.until)
        return found


def new_change(reason: str, expected_revision: int | None = None) -> "pb.Change":
    """Return a change with a new id; a repeated request keeps the id."""
    from mps.admin.v1 import admin_pb2 as pb

    return pb.Change(request_id=str(uuid.uuid4()), reason=reason, expected_revision=expected_revision)


def topic_and_partition(topic: str | None, partition: parse.Partition | None) -> tuple[str | None, int | None]:
    """Return topic and partition of `--topic T --partition P` or `--partition T/P`."""
    if partition is None:
        return topic, None
    if topic is not None and partition.topic is not None and partition.topic != topic:
        raise typer.BadParameter(f"--topic is {topic}, but --partition has topic {partition.topic}")
    found = partition.topic or topic
    if found is None:
        raise typer.BadParameter("give its topic: --partition TOPIC/P", param_hint="--partition")
    return found, partition.partition


def selection(
    subscription: str,
    topic: str | None,
    partition: parse.Partition | None,
    key: str | None,
    key_base64: str | None,
) -> "pb.Selection":
    from mps.admin.v1 import admin_pb2 as pb

    topic, number = topic_and_partition(topic, partition)
    return pb.Selection(subscription=subscription, topic=topic, partition=number, key=parse.key(key, key_base64))


def record_ref(named: parse.RecordName) -> "pb.RecordRef":
    from mps.admin.v1 import admin_pb2 as pb

    return pb.RecordRef(topic=named.topic, partition=named.partition, offset=named.offset)
