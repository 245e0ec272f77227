"""How records reach the application: a union of tables, told apart by `protocol`."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mpsd.config.secret import FilePath, SecretValue, TextValue, refuse, reveal
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
from mpsd.config.words import Allowed
from mpsd.core.content_type import AUTO

StatusMeaning = Literal["delivered", "retry", "dead-letter", "throttle", "unavailable"]
StatusTable = Annotated[Mapping[Status, StatusMeaning], Allowed("a table of status codes, each with what it means")]


CONTENT_TYPE = Field(
    default=AUTO,
    description="The media type that records are said to have: auto, each its own (its `content-type` header, else"
    " application/json where the value begins and ends like a JSON object or array, else application/octet-stream), or one"
    " for all; auto, because producers rarely set the header and handlers rarely read JSON without it.",
    examples=["application/json"],
)


class Basic(Table):
    """HTTP basic authentication."""

    username: TextValue = Field(description="Who logs in.", examples=["mps"])
    password: SecretValue = Field(description="The password, as a secret.", examples=[{"env": "APP_PASSWORD"}])


class Auth(Table):
    """How the daemon proves to the application who it is: one of these."""

    basic: Basic | None = Field(default=None, description="HTTP basic authentication; none.")
    bearer: BearerToken | None = Field(
        default=None, description="Token sent as `Authorization: Bearer …`; none.", examples=[{"env": "APP_TOKEN"}]
    )


class ClientTls(Table):
    """TLS towards an https:// endpoint; its certificate is always verified."""

    ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities that may sign the endpoint's certificate; without it, the system's.",
        examples=["/etc/mps/app-ca.pem"],
    )
    cert: FilePath | None = Field(
        default=None, description="PEM file of a client certificate; none.", examples=["/etc/mps/client.pem"]
    )
    key: FilePath | None = Field(
        default=None, description="PEM file of the private key to `cert`.", examples=["/etc/mps/client.key"]
    )


class Batch(Table):
    """Several records in one POST, as CloudEvents in JSON; filled with what is ready, without waiting."""

    records_max: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="Records in one POST; 1: each has its own, with the value as its body. More make batches, which an"
        " application must be written for.",
    )
    bytes_max: int = Field(
        default=1_048_576,
        ge=1_024,
        le=1_073_741_824,
        description="Keys, values and headers in one POST; a record that is larger goes alone. 1 MiB, what many servers"
        " accept.",
    )
    keys: Literal["distinct", "runs"] = Field(
        default="distinct",
        description="One record of a key in a batch, or several in offset order for applications that stop a key at its"
        " first failure; distinct, which asks nothing of the application.",
    )


class RestDelivery(Table):
    """A POST for each record, or for each batch of them, to one URL (`protocol = "rest"`)."""

    protocol: Literal["rest"] = Field(description="How records reach the application.", examples=["rest"])
    url: Url = Field(
        description="Where records are posted. {topic} and {header:NAME} in its path or query stand for each record's topic"
        " and header, percent-encoded; a record whose header is missing, empty or over 255 bytes is dead-lettered."
        " As a secret it may hold a user name and password, sent as basic authentication; its path, or the query of a URL"
        " that is written down, is shown nowhere.",
        examples=["http://127.0.0.1:8000/orders"],
    )
    method: Literal["POST", "PUT"] = Field(
        default="POST", description="Method of each request; POST, as a record is a message and no resource."
    )
    concurrency_max: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Deliveries in flight, each on a connection of its own; 64 keep a handler of 5 ms at 12,000"
        " records/s and are no strain on a small application.",
    )
    timeout_s: float = Field(
        default=30.0,
        ge=0.01,
        le=3_600.0,
        description="From the request's first byte to the answer's last; 30 s, where most proxies and servers give up.",
    )
    rate_max_per_s: float = Field(
        default=0.0,
        ge=0.0,
        le=1_000_000.0,
        description="Deliveries a second of all instances together, shared by owned partitions; 0: no limit, as"
        " concurrency_max already bounds the load.",
    )
    connect_timeout_s: float = Field(
        default=5.0,
        ge=0.01,
        le=600.0,
        description="Name resolution, connection and TLS handshake together; 5 s allow for one lost packet each.",
    )
    connection_age_max_s: float = Field(
        default=60.0,
        ge=0.1,
        le=86_400.0,
        description="Age at which a connection is replaced and the name resolved again; a minute, so that an address"
        " added behind the name soon has its share.",
    )
    connection_idle_max_s: float = Field(
        default=30.0,
        ge=0.1,
        le=86_400.0,
        description="Idleness at which a connection is closed; below the 60 s after which many servers and balancers do.",
    )
    request_header_bytes_max: int = Field(
        default=32_768,
        ge=1_024,
        le=1_048_576,
        description="Headers of one request; a record with more is dead-lettered as undeliverable. 32 KiB, what nginx"
        " accepts by default, in lines of 8 KiB; Tomcat takes 8 KiB in all and Node 16 KiB.",
    )
    response_header_bytes_max: int = Field(
        default=65_536,
        ge=1_024,
        le=16_777_216,
        description="Headers of one answer, over which the connection is closed; 64 KiB are more than any sane answer has.",
    )
    response_body_bytes_max: int = Field(
        default=65_536,
        ge=0,
        le=16_777_216,
        description="Body of one answer, over which the connection is closed; 64 KiB bound the memory and only 1 KiB is kept.",
    )
    retry_after_max_s: float = Field(
        default=300.0,
        ge=0.0,
        le=86_400.0,
        description="Longest Retry-After that is honoured; 5 minutes, so that one wrong header cannot stop a key for a day.",
    )
    body: Literal["value", "cloudevents-binary"] = Field(
        default="value",
        description="What is posted: the record's value alone, or with CloudEvents headers; the value, byte for byte.",
    )
    content_type: ContentType = CONTENT_TYPE
    record_headers: Literal["combined", "separate"] = Field(
        default="combined",
        description="A record's own headers: combined in one header, Mps-Headers, or separate, each as Mps-Header-<name>;"
        " combined, because nginx, gunicorn and others drop or refuse names that are usual in Kafka.",
    )
    idempotency_key: IdempotencyKey = Field(
        default="record",
        description="Where the idempotency key of a record comes from: its id (topic id, partition and offset), or the"
        " record header NAME that producers set, 1 to 256 bytes of visible ASCII; without a usable one, its id. record,"
        " as most producers set none; header, where topics are mirrored between clusters.",
        examples=["header:order-id"],
    )
    headers: Headers = Field(
        default={}, description="Headers added to every request; none.", examples=[{"X-Api-Key": {"env": "APP_KEY"}}]
    )
    auth: Auth | None = Field(default=None, description="Authentication; none.")
    webhook_secrets: Annotated[tuple[WebhookSecret, ...], Field(strict=False, max_length=2)] = Field(
        default=(),
        description="Sign each request as Standard Webhooks does; two secrets, so that they can be changed without a gap.",
        examples=[[{"env": "WEBHOOK_SECRET"}]],
    )
    tls: ClientTls | None = Field(default=None, description="TLS of an https:// URL; the system's authorities.")
    batch: Batch = Field(default=Batch(), description="Several records in one POST.")
    status: StatusTable = Field(
        default={},
        description="Answers that mean something else than the contract's table says; none, as the table fits most.",
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
        description="Where the reason of a failure comes from that log, status, doctor and dead letters show: `Mps-Reason`,"
        " else the message in the answer's body, 200 characters at most; or `Mps-Reason` alone, for an application whose"
        " answers quote what a log must not have. The body, as few applications set the header.",
    )


class LeasedDelivery(Table):
    """Applications come for records and hold each for a time: what all protocols of that kind have."""

    protocol: str = Field(description="How records reach the application.")
    concurrency_max: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Records at applications at a time, over all of them; 10,000 let a thousand workers hold ten each.",
    )
    rate_max_per_s: float = Field(
        default=0.0,
        ge=0.0,
        le=1_000_000.0,
        description="Deliveries a second of all instances together, shared by owned partitions; 0: no limit, as credit"
        " already bounds the load.",
    )
    content_type: ContentType = CONTENT_TYPE
    idempotency_key: IdempotencyKey = Field(
        default="record",
        description="Where the idempotency key of a record comes from: its id (topic id, partition and offset), or the"
        " record header NAME that producers set, 1 to 256 bytes of visible ASCII; without a usable one, its id. record,"
        " as most producers set none; header, where topics are mirrored between clusters.",
        examples=["header:order-id"],
    )
    lease_s: float = Field(
        default=30.0,
        ge=0.1,
        le=3_600.0,
        description="How long a record may be held before it is settled or its lease extended, where a pull names no time"
        " of its own; then it is delivered elsewhere, at the cost of an attempt. 30 s, as for a POST.",
    )
    lease_total_max_s: float = Field(
        default=3_600.0,
        ge=0.1,
        le=86_400.0,
        description="How long a record may be held by extending its lease; an hour, so that a worker that hangs and still"
        " extends is found on the same day.",
    )
    receiver_timeout_s: float = Field(
        default=60.0,
        ge=0.0,
        le=604_800.0,
        description="How long nobody may come for records until the state is no-receiver; 0: for ever, as for an"
        " application that comes once a night. 60 s outlast its restart.",
    )


class StreamDelivery(LeasedDelivery):
    """Applications dial in on `[stream] listen` and receive over gRPC (`protocol = "stream"`)."""

    protocol: Literal["stream"] = Field(description="How records reach the application.", examples=["stream"])


class PullDelivery(LeasedDelivery):
    """Applications ask for records over HTTP on `[http] listen` (`protocol = "pull"`)."""

    protocol: Literal["pull"] = Field(description="How records reach the application.", examples=["pull"])
    records_max: int = Field(
        default=1_000,
        ge=1,
        le=10_000,
        description="Records in one lease, whatever a request asks for; 1,000, which spread the cost of a request thin.",
    )
    bytes_max: int = Field(
        default=8_388_608,
        ge=1_024,
        le=1_073_741_824,
        description="Records in one lease, their overhead included; the last one may pass it. 8 MiB bound what one caller"
        " makes the daemon hold.",
    )
    wait_max_s: float = Field(
        default=30.0,
        ge=0.0,
        le=300.0,
        description="Longest wait of a request for records; below the 60 s after which many balancers cut a request.",
    )
    waiters_max: int = Field(
        default=1_000,
        ge=1,
        le=100_000,
        description="Requests that wait at a time; more are answered 429. 1,000 cost a few MiB.",
    )


Delivery = Annotated[RestDelivery | StreamDelivery | PullDelivery, Field(discriminator="protocol")]
"""How records reach the application."""
