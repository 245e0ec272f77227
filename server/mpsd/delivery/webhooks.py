"""The requests to an application, as models: parts A and B of the delivery contract for the OpenAPI document.

The requests are written by hand in `delivery.rest`, for speed; tests hold what is really sent to these models.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VISIBLE = r"^([!-$&-~]|%[0-9A-F]{2})*$"
IDENTITY = r"^[!-~]+$"
Visible = Annotated[str, Field(pattern=VISIBLE)]
Number = Annotated[str, Field(pattern="^(0|[1-9][0-9]*)$")]


class Sent(BaseModel):
    """A message of the daemon; later versions may add members, which an application ignores."""

    model_config = ConfigDict(frozen=True)


class RecordHeaders(Sent):
    """Headers of a request with one record; beside them may be `ce-*`, and `Mps-Header-<name>` instead of `Mps-Headers`."""

    subscription: Visible = Field(alias="Mps-Subscription", description="Its name in the configuration.")
    topic: Visible = Field(alias="Mps-Topic", description="Where the record comes from, as the next two.")
    partition: int = Field(alias="Mps-Partition", ge=0, description="Partition.")
    offset: int = Field(alias="Mps-Offset", ge=0, description="Offset.")
    attempt: int = Field(
        alias="Mps-Attempt", ge=1, description="1 for the first delivery; survives rebalances and clean restarts."
    )
    epoch: int = Field(alias="Mps-Epoch", description="Rises whenever the partition changes hands: a fencing number.")
    idempotency_key: str = Field(
        alias="Idempotency-Key",
        pattern=IDENTITY,
        description="The same for every attempt, another for every other record, those of a topic recreated under its"
        " name and of other clusters included, and for a replay. Opaque: do not parse it.",
    )
    key: Visible | None = Field(
        default=None,
        alias="Mps-Key",
        description="Percent-encoded outside visible ASCII; absent without a key, empty for the empty key.",
    )
    timestamp: int | None = Field(
        default=None, alias="Mps-Timestamp", ge=0, description="Milliseconds since the epoch; absent if it has none."
    )
    content_encoding: str | None = Field(
        default=None, alias="Content-Encoding", description="How the body is encoded: the record's `content-encoding`."
    )
    tombstone: Literal["true"] | None = Field(
        default=None, alias="Mps-Tombstone", description="The value is null, and not merely empty."
    )
    replay: Visible | None = Field(
        default=None, alias="Mps-Replay", description="Id of the replay that brought it back."
    )
    headers: str | None = Field(
        default=None,
        alias="Mps-Headers",
        description="The record's headers in order, as a form: `name=value&name=value`, percent-encoded; a null value has no"
        " `=`. Absent without headers, and with `delivery.record_headers` = separate. A text of more than 8,000 bytes stands"
        " in several lines: put them together in order, without the commas and blanks that HTTP puts between them.",
    )
    trace_parent: str | None = Field(default=None, alias="traceparent", description="From the record's headers.")
    trace_state: str | None = Field(default=None, alias="tracestate", description="From the record's headers.")
    webhook_id: str | None = Field(
        default=None, alias="webhook-id", description="Standard Webhooks, with `delivery.webhook_secrets`."
    )
    webhook_timestamp: int | None = Field(default=None, alias="webhook-timestamp", description="As `webhook-id`.")
    webhook_signature: str | None = Field(default=None, alias="webhook-signature", description="As `webhook-id`.")


class BatchHeaders(Sent):
    """Headers of a request with several records."""

    subscription: Visible = Field(alias="Mps-Subscription", description="Its name in the configuration.")
    records: int = Field(alias="Mps-Records", ge=1, description="How many events are in the body.")
    webhook_id: str | None = Field(
        default=None, alias="webhook-id", description="Standard Webhooks, with `delivery.webhook_secrets`."
    )
    webhook_timestamp: int | None = Field(default=None, alias="webhook-timestamp", description="As `webhook-id`.")
    webhook_signature: str | None = Field(default=None, alias="webhook-signature", description="As `webhook-id`.")


class Event(Sent):
    """A record as a CloudEvent in JSON. What its own request would say in headers stands in extension attributes."""

    specversion: Literal["1.0"]
    type: str = Field(min_length=1, description="`kafka.record.v1`.")
    source: str = Field(min_length=1, description="`/kafka/<topic>/<partition>`.")
    id: str = Field(
        pattern=IDENTITY, description="What `Idempotency-Key` is elsewhere: opaque; failures are named by it."
    )
    time: str | None = Field(default=None, description="The record's time, RFC 3339; absent if it has none.")
    mpssubscription: str
    mpstopic: str
    mpspartition: int = Field(ge=0)
    mpsoffset: Number = Field(description="A string, as CloudEvents knows no integers beyond 32 bits.")
    mpsepoch: int
    mpsattempt: int = Field(ge=1)
    mpstimestamp: Number | None = Field(default=None, description="Milliseconds since the epoch.")
    mpskey: str | None = Field(default=None, description="Percent-encoded; absent without a key.")
    mpsreplay: str | None = None
    mpsheaders: str | None = Field(
        default=None, description="The record's headers in order, as a form: `name=value&name=value`, percent-encoded."
    )
    mpstombstone: Literal[True] | None = Field(default=None, description="The value is null.")
    traceparent: str | None = None
    tracestate: str | None = None
    datacontenttype: str | None = Field(
        default=None, description="The value's media type: the record's own, or as `delivery.content_type` says."
    )
    data: Any = Field(default=None, description="The value, where it is JSON and its type says so.")
    data_base64: str | None = Field(default=None, description="The value, where it is anything else.")


class Failure(Sent):
    """A record of a batch that was not accepted."""

    id: str = Field(description="Of its event.")
    action: Literal["retry", "dead-letter"]
    reason: str | None = None
    retry_after_s: float | None = Field(default=None, ge=0)


class BatchAnswer(Sent):
    """All that are not named are accepted; an empty body names none."""

    failures: list[Failure]
