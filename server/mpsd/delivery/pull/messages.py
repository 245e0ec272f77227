"""The messages between callers and the daemon, the one source of validation and of the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

RECORDS_MAX = 10_000
"""The most that `delivery.records_max` may be, so no request needs more."""
WAIT_S_MAX = 300.0
LEASE_S_MIN = 0.02
"""Leases are ended no finer, so that many short ones share a timer."""
LEASE_S_MAX = 86_400.0
DELAY_S_MAX = 3_600.0
"""An hour: the key waits that long as well, and a partition's records behind it are held."""
REASON_CHARACTERS_MAX = 8_192
"""The beginning of a traceback; what does not fit the dead letter is cut there."""
DELIVERY_ID_CHARACTERS_MAX = 256
"""Ours have about 50."""


def _absent(schema: JsonDict) -> None:
    """Return an optional member, which is left out instead of null."""
    schema.pop("default", None)


_EITHER: JsonDict = {
    "allOf": [{"oneOf": [{"required": [name]}, {"required": [f"{name}_base64"]}]} for name in ("key", "value")]
}


class Message(BaseModel):
    """A JSON object: strictly typed, without room for unknown members."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _whole(given: Any) -> Any:
    """Read 560.0 as an integer, because JSON Schema and languages with one kind of number do."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


Whole = Annotated[int, BeforeValidator(_whole)]


class LeaseRequest(Message):
    """The number of records that the caller would take, and how long it waits."""

    records_max: Whole = Field(
        default=100,
        ge=1,
        le=RECORDS_MAX,
        description="Most records to be given; no more than `delivery.records_max` are.",
    )
    wait_s: float = Field(
        default=20.0,
        ge=0.0,
        le=WAIT_S_MAX,
        description="How long to wait for the first record, seconds; no longer than `delivery.wait_max_s`.",
    )
    lease_s: float | None = Field(
        default=None,
        ge=LEASE_S_MIN,
        le=LEASE_S_MAX,
        description="How long the records may be held, seconds; `delivery.lease_s` if not given, and no longer than"
        " `delivery.lease_total_max_s`.",
    )


DeliveryId = Annotated[
    str,
    Field(min_length=1, max_length=DELIVERY_ID_CHARACTERS_MAX, description="From the record; new for every attempt."),
]


class Settlement(Message):
    """The verdict on one record."""

    delivery_id: DeliveryId
    verdict: Literal["ack", "retry", "dead-letter"] = Field(
        description="`ack`: accepted. `retry`: deliver it again; it costs an attempt. `dead-letter`: never again."
    )
    delay_s: float = Field(
        default=0.0, ge=0.0, le=DELAY_S_MAX, description="With `retry`: not before so many seconds have passed."
    )
    reason: str = Field(
        default="", max_length=REASON_CHARACTERS_MAX, description="Why, for the log and the dead letter."
    )


class SettleRequest(Message):
    """Settlements of one lease; all are looked at, or none if one is malformed."""

    settlements: list[Settlement] = Field(min_length=1, max_length=RECORDS_MAX)


class ExtendRequest(Message):
    """Records of one lease that the caller goes on holding."""

    delivery_ids: list[DeliveryId] = Field(min_length=1, max_length=RECORDS_MAX)
    lease_s: float | None = Field(
        default=None,
        ge=LEASE_S_MIN,
        le=LEASE_S_MAX,
        description="From now on, seconds; `delivery.lease_s` if not given, and within `delivery.lease_total_max_s` since"
        " the record was given.",
    )


class TextHeader(Message):
    """A header of a record whose value is null or valid UTF-8."""

    name: str
    value: str | None


class BinaryHeader(Message):
    """A header of a record whose value is not valid UTF-8."""

    name: str
    value_base64: str


class LeasedRecord(Message):
    """A record. Key and value are text where their bytes are valid UTF-8, else base64: one of the two is there."""

    model_config = ConfigDict(json_schema_extra=_EITHER)

    delivery_id: DeliveryId
    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    epoch: int = Field(description="Rises whenever the partition changes hands: a fencing number.")
    attempt: int = Field(ge=1, description="1 for the first delivery; survives rebalances and clean restarts.")
    timestamp_ms: int | SkipJsonSchema[None] = Field(
        default=None,
        json_schema_extra=_absent,
        description="The record's time, milliseconds since the epoch; absent if it has none.",
    )
    idempotency_key: str = Field(
        min_length=1,
        description="The same for every attempt, another for every other record, those of a topic recreated under its"
        " name and of other clusters included, and for a replay. Opaque: do not parse it.",
    )
    replay: str | SkipJsonSchema[None] = Field(
        default=None, json_schema_extra=_absent, description="Id of the replay that brought it back; absent otherwise."
    )
    key: str | None = Field(default=None, json_schema_extra=_absent, description="null: it has no key.")
    key_base64: str | SkipJsonSchema[None] = Field(
        default=None, json_schema_extra=_absent, description="Instead of `key`."
    )
    content_type: str = Field(
        description="Media type of the value: `delivery.content_type`, or the record's own; JSON where it looks like it."
    )
    value: str | None = Field(
        default=None, json_schema_extra=_absent, description="null: a tombstone, which is not the empty value."
    )
    value_base64: str | SkipJsonSchema[None] = Field(
        default=None, json_schema_extra=_absent, description="Instead of `value`."
    )
    headers: list[TextHeader | BinaryHeader] = Field(description="In order; a name may be there several times.")


class LeaseAnswer(Message):
    """The records that were ready; none at the end of the wait."""

    records: list[LeasedRecord]
    lease_id: str | SkipJsonSchema[None] = Field(
        default=None, json_schema_extra=_absent, description="Absent without records, as the next three are."
    )
    lease_s: float | SkipJsonSchema[None] = Field(
        default=None, json_schema_extra=_absent, description="How long the records may be held, as granted."
    )
    settle_url: str | SkipJsonSchema[None] = Field(
        default=None, json_schema_extra=_absent, description="Where to say what became of them."
    )
    extend_url: str | SkipJsonSchema[None] = Field(
        default=None, json_schema_extra=_absent, description="Where to ask for more time."
    )


class SettleResult(Message):
    """The result of a settlement."""

    delivery_id: str
    result: Literal["settled", "expired", "unknown"] = Field(
        description="`expired`: the caller holds it no longer, because its lease ended, it was taken back, or it was settled"
        " before. `unknown`: it is not of this lease, or of a process that is gone. Neither changes anything."
    )


class SettleAnswer(Message):
    """In the order of the request."""

    results: list[SettleResult]


class ExtendResult(Message):
    """The result of an extension."""

    delivery_id: str
    result: Literal["extended", "expired", "unknown"]
    lease_s: float | SkipJsonSchema[None] = Field(
        default=None, json_schema_extra=_absent, description="Time left, seconds, where it was extended."
    )


class ExtendAnswer(Message):
    """In the order of the request."""

    results: list[ExtendResult]
