"""The tables that the whole daemon shares. Descriptions, ranges and defaults are the source of the reference page."""

from typing import Annotated, Literal

from pydantic import Field

from mpsd.config.secret import FilePath, SecretValue, TextValue
from mpsd.config.values import Address, InternalTopic, PeerAddress, Table


class Security(Table):
    """How the daemon speaks to Kafka."""

    protocol: Literal["plaintext", "ssl", "sasl-plaintext", "sasl-ssl"] = Field(
        default="plaintext", description="The listener's protocol; plaintext, as a fresh Kafka has it."
    )
    ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities that may sign the brokers' certificates; without it, the system's.",
        examples=["/etc/mps/kafka-ca.pem"],
    )
    cert: FilePath | None = Field(
        default=None,
        description="PEM file of the client's certificate; none, as most clusters authenticate by SASL.",
        examples=["/etc/mps/kafka.pem"],
    )
    key: FilePath | None = Field(
        default=None, description="PEM file of the private key to `cert`.", examples=["/etc/mps/kafka.key"]
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None,
        description="How to log in with a sasl-… protocol; no default, as a wrong guess would send the password away.",
        examples=["SCRAM-SHA-512"],
    )
    username: TextValue | None = Field(
        default=None, description="Who logs in, with a sasl-… protocol.", examples=["mps"]
    )
    password: SecretValue | None = Field(
        default=None, description="The password, as a secret.", examples=[{"env": "KAFKA_PASSWORD"}]
    )


class Kafka(Table):
    """The cluster that records are read from and dead letters are written to."""

    bootstrap_servers: Annotated[tuple[Address, ...], Field(strict=False, min_length=1, max_length=100)] = Field(
        description="Brokers to ask first; no default, so that a forgotten setting is an error and not a wrong cluster.",
        examples=[["127.0.0.1:9092"]],
    )
    client_id: str = Field(
        default="mpsd",
        min_length=1,
        max_length=200,
        description="Name in the brokers' logs and quotas; the command's, so that it is recognised there.",
    )
    security: Security = Field(default=Security(), description="Encryption and login.")
    session_timeout_ms: int = Field(
        default=20_000,
        ge=1_000,
        le=1_800_000,
        description="Silence after which the group takes a member for dead; long enough for a stop-the-world pause or a"
        " moved container, short enough that a crash holds its partitions for under half a minute.",
    )
    rebalance_timeout_ms: int = Field(
        default=10_000,
        ge=1_000,
        le=3_600_000,
        description="How long a rebalance waits for a member to join; short, as draining happens before it and"
        " deliveries stop for as long as one member is not heard.",
    )
    heartbeat_interval_ms: int = Field(
        default=2_000,
        ge=100,
        le=600_000,
        description="Pause between heartbeats, at most a third of the session; also how late a member learns of a"
        " rebalance, so shorter than Kafka's usual 3 s.",
    )
    batch_bytes_max: int = Field(
        default=33_554_432,
        ge=1_048_576,
        le=1_073_741_824,
        description="Of one batch of records once it is decompressed, because a few kilobytes can stand for gigabytes. A"
        " larger one stops its partition in the state `unreadable`; 32 MiB, as much as a partition may have pending, is 32"
        " times what Kafka's producers send at most.",
    )
    silence_max_ms: int = Field(
        default=3_000,
        ge=1_000,
        le=60_000,
        description="How long a broker may owe an answer and bring nothing of it; then its connection is made again."
        " Joins are excepted, because they wait for other members. Short, so that delivery is on again within seconds of the"
        " broker's return; an answer that comes slowly is not silence.",
    )
    metadata_age_max_ms: int = Field(
        default=30_000,
        ge=1_000,
        le=3_600_000,
        description="How old the list of partitions and their leaders may become; also how late new partitions are"
        " found, so shorter than Kafka's usual five minutes.",
    )
    fetch_bytes_max: int = Field(
        default=4_194_304,
        ge=65_536,
        le=1_073_741_824,
        description="Answer to one fetch, shared by the partitions; 4 MiB keep 100 MB/s flowing, and what the client holds"
        " in advance counts towards limits.pending_bytes_max.",
    )


class Limits(Table):
    """Bounds of the whole daemon."""

    pending_bytes_max: int = Field(
        default=67_108_864,
        ge=1_048_576,
        le=1_099_511_627_776,
        description="Records read and not yet settled, their overhead included, shared fairly by the partitions; 64 MiB"
        " keep the daemon under 150 MiB when everything is full.",
    )


class ListenerTls(Table):
    """Encryption of a listener."""

    cert: FilePath = Field(
        description="PEM file of the server's certificate and its chain.", examples=["/etc/mps/tls.pem"]
    )
    key: FilePath = Field(description="PEM file of the private key to `cert`.", examples=["/etc/mps/tls.key"])
    client_ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities whose clients may call; without it, clients need no certificate.",
        examples=["/etc/mps/clients-ca.pem"],
    )


LISTEN = "Where to listen; loopback, so that nothing is open by accident. Port 0: a free one."


class Listener(Table):
    """What every listener has."""

    listen: Address = Field(description=LISTEN)
    tls: ListenerTls | None = Field(
        default=None, description="Encryption; none, as the default address is not reachable from outside."
    )
    tokens_file: FilePath | None = Field(
        default=None,
        description="File with those who may call, by bearer token or client certificate, and their roles; none, as with"
        " `tls`.",
        examples=["/etc/mps/tokens.toml"],
    )
    insecure: bool = Field(
        default=False,
        description="Allow an address that others reach without TLS and without knowing who calls; false, so that it"
        " takes a decision.",
    )


ADVERTISE = (
    "Address that others are told; empty: `listen`, or, of a listener on every address, the one by which this host reaches"
    " the brokers, as the other daemons reach them too."
)


class Admin(Listener):
    """gRPC: administration, health, reflection."""

    listen: Address = Field(default="127.0.0.1:7070", description=LISTEN)
    advertise: PeerAddress = Field(default="", description=ADVERTISE)
    peers_ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities that may sign the other instances' certificates; without it, with"
        " `tls`, the system's.",
        examples=["/etc/mps/peers-ca.pem"],
    )
    peer_timeout_s: float = Field(
        default=3.0,
        ge=0.1,
        le=60.0,
        description="How long another instance may take to answer until it is listed as not answering; 3 s, as people"
        " wait for it.",
    )
    values: bool = Field(
        default=False,
        description="Whether callers of the role admin may see the values of records; false, as they may be personal.",
    )


class Http(Listener):
    """HTTP: /healthz, /readyz, /metrics, and the pull API."""

    listen: Address = Field(default="127.0.0.1:7071", description=LISTEN)
    advertise: PeerAddress = Field(default="", description=ADVERTISE)
    body_bytes_max: int = Field(
        default=1_048_576,
        ge=1_024,
        le=67_108_864,
        description="Body of a request; 1 MiB holds the settlements of 10,000 records.",
    )
    peers_ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities that may sign the other instances' certificates, to which settlements are"
        " forwarded; without it, with `tls`, the system's.",
        examples=["/etc/mps/peers-ca.pem"],
    )


class Stream(Listener):
    """gRPC: delivery streams."""

    listen: Address = Field(default="127.0.0.1:7072", description=LISTEN)
    advertise: PeerAddress = Field(default="", description=ADVERTISE)
    streams_max: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        description="Streams at a time, over all subscriptions; more are answered RESOURCE_EXHAUSTED. 2,000 idle ones"
        " cost 100 to 200 MiB at most.",
    )
    keep_alive_s: float = Field(
        default=10.0,
        ge=1.0,
        le=60.0,
        description="Longest silence on a stream; 10 s, so that a daemon that vanished is noticed within half a minute.",
    )
    frame_bytes_max: int = Field(
        default=1_048_576,
        ge=1_024,
        le=67_108_864,
        description="Records in one frame; one that is larger goes alone. 1 MiB stays below the 4 MiB that gRPC clients"
        " accept by default.",
    )


class Reload(Table):
    """What is read again while the daemon runs: secrets, tokens files, certificates and their keys."""

    interval_s: float = Field(
        default=5.0,
        ge=0.1,
        le=3_600.0,
        description="Pause between two looks at the files; 5 s, as the old and the new secret are usually both accepted for"
        " longer. After an answer 401, 403 or 407 the files of that endpoint are looked at at once.",
    )


class Shutdown(Table):
    """What happens between SIGTERM and the end."""

    grace_s: float = Field(
        default=25.0,
        ge=0.0,
        le=3_600.0,
        description="How long deliveries in flight may take to finish; below the 30 s after which a pod is killed."
        " Deliveries cut off at its end are made again after the next start.",
    )


class Control(Table):
    """Where pauses, limits and replay tasks are kept, and who changed them."""

    topic: InternalTopic = Field(
        default="__mps_control",
        description="Compacted topic shared by all instances, created if absent; the underscores mark it as internal, as"
        " Kafka's own do. Empty: none, and then nothing can be paused, limited, reset or replayed.",
    )
    audit_topic: InternalTopic = Field(
        default="__mps_audit",
        description="Topic with the history of all changes, created if absent; empty: none is kept.",
    )
    audit_retention_s: int = Field(
        default=7_776_000,
        ge=0,
        le=315_360_000,
        description="How long a created audit topic keeps them; 0: for ever. 90 days cover a quarter.",
    )
    replication_factor: int = Field(
        default=0, ge=0, le=100, description="Copies of created topics; 0: three, or as many as there are brokers."
    )
    write_timeout_s: float = Field(
        default=10.0,
        ge=0.1,
        le=600.0,
        description="How long a change may take until all in-sync replicas have it; 10 s outlast a change of leader.",
    )
    confirm_timeout_s: float = Field(
        default=10.0,
        ge=0.1,
        le=600.0,
        description="How long a change waits for all instances to apply it until it is reported as not confirmed; 10 s"
        " outlast a rebalance of healthy members.",
    )
    replays_max: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Replay tasks that are remembered; the oldest that ended are forgotten first. 100 are some weeks.",
    )
    replayed_bytes_max: int = Field(
        default=262_144,
        ge=1_024,
        le=900_000,
        description="What is remembered per source partition of dead letters that were replayed; at the bound a new"
        " replay is refused. 256 KiB stay below the 1 MiB of a record.",
    )


class Logging(Table):
    """What the daemon writes to standard error."""

    format: Literal["auto", "human", "json"] = Field(
        default="auto", description="How a line looks; auto is human on a terminal and JSON elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is left out below; info is one line per event and none per record."
    )
