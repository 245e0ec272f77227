"""The tables of a delivery: a union, told apart by `protocol`."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mpsd.config.secret import FilePath, SecretValue, TextValue, refuse, reveal
from mpsd.config.shapes import Allowed
from mpsd.config.values import (
    BearerToken,
    ContentType,
    Headers,
    IdempotencyKey,
    Status,
    Table,
    Url,
    WebhookSecret,
    split_user,
)
from mpsd.core.content_type import AUTO

StatusMeaning = Literal["delivered", "retry", "dead-letter", "throttle", "unavailable"]
StatusTable = Annotated[Mapping[Status, StatusMeaning], Allowed("a table of status codes, each with its meaning")]


CONTENT_TYPE = Field(
    default=AUTO,
    description="Media type of the records: `auto` for each record's own (its `content-type` header, else application/json"
    " if the value begins and ends like a JSON object or array, else application/octet-stream), or one media type for"
    " all; auto, because producers rarely set the header and handlers rarely read JSON without it.",
    examples=["application/json"],
)


IDEMPOTENCY_KEY = Field(
    default="record",
    description="Source of the idempotency key of a record: `record` for its id (topic id, partition and"
    " offset), or `header:NAME` for a record header of 1 to 256 bytes of visible ASCII, and the id if the"
    " record has no such header; record, because most producers set none. Use a header if topics are mirrored"
    " between clusters.",
    examples=["header:order-id"],
)


class Basic(Table):
    """HTTP basic authentication."""

    username: TextValue = Field(description="User name.", examples=["mps"])
    password: SecretValue = Field(description="The password, as a secret.", examples=[{"env": "APP_PASSWORD"}])


class Auth(Table):
    """Credentials of the daemon for the application: one of these."""

    basic: Basic | None = Field(default=None, description="HTTP basic authentication; none.")
    bearer: BearerToken | None = Field(
        default=None,
        description="Token that is sent as `Authorization: Bearer …`; none.",
        examples=[{"env": "APP_TOKEN"}],
    )


class ClientTls(Table):
    """TLS of an https:// endpoint; its certificate is always verified."""

    ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities that may sign the endpoint's certificate; without it, the"
        " authorities of the system.",
        examples=["/etc/mps/app-ca.pem"],
    )
    cert: FilePath | None = Field(
        default=None, description="PEM file of a client certificate; none.", examples=["/etc/mps/client.pem"]
    )
    key: FilePath | None = Field(
        default=None, description="PEM file of the private key to `cert`.", examples=["/etc/mps/client.key"]
    )


class Batch(Table):
    """Several records in one request, as CloudEvents in JSON; filled with the records that are ready, without waiting."""

    records_max: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="Records in one request; 1, because a batch needs an application that is written for it: the"
        " value alone is the body.",
    )
    bytes_max: int = Field(
        default=1_048_576,
        ge=1_024,
        le=1_073_741_824,
        description="Bytes of keys, values and headers in one request; a larger record goes alone. 1 MiB, because"
        " many servers accept that much.",
    )
    keys: Literal["distinct", "runs"] = Field(
        default="distinct",
        description="`distinct` puts one record of a key into a batch, `runs` puts several in offset order, for"
        " applications that stop a key at its first failure; distinct, because it needs nothing of the application.",
    )


class RestDelivery(Table):
    """A request for each record, or for each batch of records, to one URL (`protocol = "rest"`)."""

    protocol: Literal["rest"] = Field(description="Protocol by which records reach the application.", examples=["rest"])
    url: Url = Field(
        description="URL of the application. {topic} and {header:NAME} in its path or query stand for the topic and"
        " a header of each record, percent-encoded; a record whose header is missing, empty or over 255 bytes is"
        " dead-lettered. As a secret, the URL may hold a user name and password, which are sent as basic"
        " authentication. The path of a secret URL, and the query of any URL, are never shown.",
        examples=["http://127.0.0.1:8000/orders"],
    )
    method: Literal["POST", "PUT"] = Field(
        default="POST", description="Method of each request; POST, because a record is a message and not a resource."
    )
    concurrency_max: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Deliveries in flight, each on a connection of its own; 64 keep a handler of 5 ms at 12,000"
        " records/s and do not overload a small application.",
    )
    timeout_s: float = Field(
        default=30.0,
        ge=0.01,
        le=3_600.0,
        description="Time in seconds from the first byte of a request to the last byte of its answer; 30 s, after"
        " which most proxies and servers give up.",
    )
    rate_max_per_s: float = Field(
        default=0.0,
        ge=0.0,
        le=1_000_000.0,
        description="Deliveries per second of all instances together, shared by the partitions that they own; 0: no"
        " limit, because concurrency_max already bounds the load.",
    )
    connect_timeout_s: float = Field(
        default=5.0,
        ge=0.01,
        le=600.0,
        description="Time in seconds for name resolution, connection and TLS handshake together; 5 s allow for one"
        " lost packet each.",
    )
    connection_age_max_s: float = Field(
        default=60.0,
        ge=0.1,
        le=86_400.0,
        description="Age in seconds at which a connection is replaced and the name resolved again; a minute, so"
        " that a new address of the name soon gets its share.",
    )
    connection_idle_max_s: float = Field(
        default=30.0,
        ge=0.1,
        le=86_400.0,
        description="Time in seconds after which an idle connection is closed; 30 s, because many servers and load"
        " balancers close it after 60 s.",
    )
    request_header_bytes_max: int = Field(
        default=32_768,
        ge=1_024,
        le=1_048_576,
        description="Bytes of the headers of one request; a record that needs more is dead-lettered as"
        " undeliverable. 32 KiB, which nginx accepts by default in lines of 8 KiB; Tomcat accepts 8 KiB in all and"
        " Node 16 KiB.",
    )
    response_header_bytes_max: int = Field(
        default=65_536,
        ge=1_024,
        le=16_777_216,
        description="Bytes of the headers of one answer, beyond which the connection is closed; 64 KiB are more"
        " than any usual answer has.",
    )
    response_body_bytes_max: int = Field(
        default=65_536,
        ge=0,
        le=16_777_216,
        description="Bytes of the body of one answer, beyond which the connection is closed; 64 KiB, because the"
        " daemon keeps only 1 KiB.",
    )
    retry_after_max_s: float = Field(
        default=300.0,
        ge=0.0,
        le=86_400.0,
        description="Longest Retry-After in seconds that is honoured; 5 minutes, so that one wrong header cannot"
        " stop a key for a day.",
    )
    body: Literal["value", "cloudevents-binary"] = Field(
        default="value",
        description="Body of a request: the record's value alone, or the value with CloudEvents headers; value,"
        " because applications then get the producer's bytes and nothing else.",
    )
    content_type: ContentType = CONTENT_TYPE
    record_headers: Literal["combined", "separate"] = Field(
        default="combined",
        description="A record's own headers go into one header, Mps-Headers (combined), or each into"
        " Mps-Header-<name> (separate); combined, because nginx, gunicorn and others drop or refuse names that are"
        " usual in Kafka.",
    )
    idempotency_key: IdempotencyKey = IDEMPOTENCY_KEY
    headers: Headers = Field(
        default={}, description="Headers added to every request; none.", examples=[{"X-Api-Key": {"env": "APP_KEY"}}]
    )
    auth: Auth | None = Field(default=None, description="Authentication; none.")
    webhook_secrets: Annotated[tuple[WebhookSecret, ...], Field(strict=False, max_length=2)] = Field(
        default=(),
        description="Secrets to sign each request as Standard Webhooks defines; two, so that a secret can be"
        " replaced without a gap.",
        examples=[[{"env": "WEBHOOK_SECRET"}]],
    )
    tls: ClientTls | None = Field(default=None, description="TLS of an https:// URL; the authorities of the system.")
    batch: Batch = Field(default=Batch(), description="Several records in one request.")
    status: StatusTable = Field(
        default={},
        description="Meanings of status codes that differ from the table of the delivery contract; none, because"
        " the table fits most applications.",
        examples=[{"404": "dead-letter"}],
    )

    @model_validator(mode="after")
    def _one_user(self) -> Self:
        """Refuse a user name in a secret URL beside another way to prove who the daemon is."""
        named = {name.lower() for name in self.headers}
        if split_user(reveal(self.url))[1] is not None and (self.auth is not None or "authorization" in named):
            refuse("url holds a user name, and auth or headers set the header Authorization, too")
        return self

    reason: Literal["body", "header"] = Field(
        default="body",
        description="Source of the reason of a failure in log, status, doctor and dead letters: `Mps-Reason`, else"
        " the message in the answer's body, at most 200 characters (body); or `Mps-Reason` alone (header), for an"
        " application whose answers quote data that must not be logged. body, because few applications set the"
        " header.",
    )


class LeasedDelivery(Table):
    """Applications fetch records and hold each for a limited time: the keys of stream and pull."""

    protocol: str = Field(description="Protocol by which records reach the application.")
    concurrency_max: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Records that all applications together hold; 10,000 let a thousand workers hold ten each.",
    )
    rate_max_per_s: float = Field(
        default=0.0,
        ge=0.0,
        le=1_000_000.0,
        description="Deliveries per second of all instances together, shared by the partitions that they own; 0: no"
        " limit, because credit already bounds the load.",
    )
    content_type: ContentType = CONTENT_TYPE
    idempotency_key: IdempotencyKey = IDEMPOTENCY_KEY
    lease_s: float = Field(
        default=30.0,
        ge=0.1,
        le=3_600.0,
        description="Time in seconds within which an application must settle a record or extend its lease, unless a"
        " pull names another time; then the record is delivered elsewhere, and an attempt is counted. 30 s, like"
        " the time-out of a POST.",
    )
    lease_total_max_s: float = Field(
        default=3_600.0,
        ge=0.1,
        le=86_400.0,
        description="Longest time in seconds that a record may be held by extending its lease; an hour, so that a"
        " worker that hangs and still extends is found on the same day.",
    )
    receiver_timeout_s: float = Field(
        default=60.0,
        ge=0.0,
        le=604_800.0,
        description="Time in seconds without any application after which the state is no-receiver, 0: never, for an"
        " application that comes once a night; 60 s are longer than a restart.",
    )


class StreamDelivery(LeasedDelivery):
    """Applications open streams on `[stream] listen` and receive records over gRPC (`protocol = "stream"`)."""

    protocol: Literal["stream"] = Field(
        description="Protocol by which records reach the application.", examples=["stream"]
    )


class PullDelivery(LeasedDelivery):
    """Applications ask for records over HTTP on `[http] listen` (`protocol = "pull"`)."""

    protocol: Literal["pull"] = Field(description="Protocol by which records reach the application.", examples=["pull"])
    records_max: int = Field(
        default=1_000,
        ge=1,
        le=10_000,
        description="Records in one lease, even if a request asks for more; 1,000 make the cost of a request small"
        " per record.",
    )
    bytes_max: int = Field(
        default=8_388_608,
        ge=1_024,
        le=1_073_741_824,
        description="Bytes of the records in one lease, their overhead included; the last record may exceed it. 8"
        " MiB bound the memory for one caller.",
    )
    wait_max_s: float = Field(
        default=30.0,
        ge=0.0,
        le=300.0,
        description="Longest time in seconds that a request waits for records; 30 s, because many load balancers"
        " cut a request after 60 s.",
    )
    waiters_max: int = Field(
        default=1_000,
        ge=1,
        le=100_000,
        description="Requests that wait at a time; the daemon answers more with 429. 1,000 need a few MiB.",
    )


Delivery = Annotated[RestDelivery | StreamDelivery | PullDelivery, Field(discriminator="protocol")]
"""The table of one protocol."""
