"""The tables that the whole daemon shares. Descriptions, ranges and defaults are the source of the reference page."""

from typing import Annotated, Literal

from pydantic import Field

from mpsd.config.secret import FilePath, SecretValue, TextValue
from mpsd.config.values import Address, InternalTopic, PeerAddress, Table


class Security(Table):
    """Encryption of the connections to Kafka, and the login."""

    protocol: Literal["plaintext", "ssl", "sasl-plaintext", "sasl-ssl"] = Field(
        default="plaintext", description="Protocol of the brokers' listener; plaintext, because a fresh Kafka has it."
    )
    ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities that may sign the brokers' certificates; without it, the"
        " authorities of the system.",
        examples=["/etc/mps/kafka-ca.pem"],
    )
    cert: FilePath | None = Field(
        default=None,
        description="PEM file of the client's certificate; none, because most clusters log clients in by SASL.",
        examples=["/etc/mps/kafka.pem"],
    )
    key: FilePath | None = Field(
        default=None, description="PEM file of the private key to `cert`.", examples=["/etc/mps/kafka.key"]
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None,
        description="SASL mechanism of a sasl-… protocol; no default, because a wrong guess could reveal the password.",
        examples=["SCRAM-SHA-512"],
    )
    username: TextValue | None = Field(default=None, description="User name, with a sasl-… protocol.", examples=["mps"])
    password: SecretValue | None = Field(
        default=None, description="Password, as a secret, with a sasl-… protocol.", examples=[{"env": "KAFKA_PASSWORD"}]
    )


class Kafka(Table):
    """The cluster that records are read from and dead letters are written to."""

    bootstrap_servers: Annotated[tuple[Address, ...], Field(strict=False, min_length=1, max_length=100)] = Field(
        description="Brokers to ask first; no default, because a forgotten setting must be an error and not the"
        " wrong cluster.",
        examples=[["127.0.0.1:9092"]],
    )
    client_id: str = Field(
        default="mpsd",
        min_length=1,
        max_length=200,
        description="Name of the daemon in the brokers' logs and quotas; the name of the command, so that people"
        " recognise it.",
    )
    security: Security = Field(default=Security(), description="Encryption and login.")
    session_timeout_ms: int = Field(
        default=20_000,
        ge=1_000,
        le=1_800_000,
        description="Time in milliseconds without a heartbeat after which the group removes a member; 20 s are"
        " longer than a usual pause of a process, and short enough that a crash blocks its partitions for less than"
        " half a minute.",
    )
    rebalance_timeout_ms: int = Field(
        default=10_000,
        ge=1_000,
        le=3_600_000,
        description="Longest time in milliseconds that a rebalance waits for a member to join; 10 s are enough"
        " because deliveries drain before it, and a silent member stops deliveries for this long.",
    )
    heartbeat_interval_ms: int = Field(
        default=2_000,
        ge=100,
        le=600_000,
        description="Pause between heartbeats in milliseconds, at most a third of the session time-out; 2 s instead"
        " of Kafka's 3 s, because a member learns of a rebalance from a heartbeat.",
    )
    batch_bytes_max: int = Field(
        default=33_554_432,
        ge=1_048_576,
        le=1_073_741_824,
        description="Size of one decompressed batch of records in bytes, because a few kilobytes can stand for"
        " gigabytes. A larger batch stops its partition in the state `unreadable`; 32 MiB equal `pending.bytes_max`"
        " and are 32 times the largest batch of Kafka's producers.",
    )
    silence_max_ms: int = Field(
        default=3_000,
        ge=1_000,
        le=60_000,
        description="Longest time in milliseconds in which a broker sends no byte of an answer that it owes; then"
        " the daemon reconnects. Joins are exempt, because they wait for other members. 3 s, so that deliveries go"
        " on within seconds of the broker's return.",
    )
    metadata_age_max_ms: int = Field(
        default=30_000,
        ge=1_000,
        le=3_600_000,
        description="Age in milliseconds at which the list of partitions and their leaders is read again; 30 s"
        " instead of Kafka's 5 minutes, because new partitions are found by it.",
    )
    fetch_bytes_max: int = Field(
        default=4_194_304,
        ge=65_536,
        le=1_073_741_824,
        description="Size of the answer to one fetch in bytes, shared by the partitions; 4 MiB sustain 100 MB/s."
        " Fetches in advance count towards limits.pending_bytes_max.",
    )


class Limits(Table):
    """Bounds of the whole daemon."""

    pending_bytes_max: int = Field(
        default=67_108_864,
        ge=1_048_576,
        le=1_099_511_627_776,
        description="Bytes of all records read and not yet settled, their overhead included, shared fairly by the"
        " partitions; 64 MiB keep the daemon below 150 MiB in the worst case.",
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


LISTEN = "Address to listen on; loopback, so that no port is open by accident. Port 0: a free one."


class Listener(Table):
    """The keys of every listener."""

    listen: Address = Field(description=LISTEN)
    tls: ListenerTls | None = Field(
        default=None, description="Encryption; none, because the default address cannot be reached from outside."
    )
    tokens_file: FilePath | None = Field(
        default=None,
        description="File that lists the allowed callers, by bearer token or client certificate, and their roles;"
        " none, because the default address cannot be reached from outside.",
        examples=["/etc/mps/tokens.toml"],
    )
    insecure: bool = Field(
        default=False,
        description="Allow an address that others can reach without TLS and without authentication; false, so that"
        " an open port is a decision.",
    )


ADVERTISE = (
    "Address at which other daemons and clients reach the listener; empty: `listen`, or, if that means all addresses of"
    " the host, the address from which the host reaches the brokers, because the other daemons reach them too."
)


class Admin(Listener):
    """gRPC: administration, health, reflection."""

    listen: Address = Field(default="127.0.0.1:7070", description=LISTEN)
    advertise: PeerAddress = Field(default="", description=ADVERTISE)
    peers_ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities that may sign the certificates of the other instances; without it,"
        " with `tls`, the authorities of the system.",
        examples=["/etc/mps/peers-ca.pem"],
    )
    peer_timeout_s: float = Field(
        default=3.0,
        ge=0.1,
        le=60.0,
        description="Time in seconds after which another instance counts as not answering; 3 s, because people wait"
        " for the list.",
    )
    values: bool = Field(
        default=False,
        description="Allow callers of the role admin to see the values of records; false, because values may be"
        " personal data.",
    )


class Http(Listener):
    """HTTP: /healthz, /readyz, /metrics, and the pull API."""

    listen: Address = Field(default="127.0.0.1:7071", description=LISTEN)
    advertise: PeerAddress = Field(default="", description=ADVERTISE)
    body_bytes_max: int = Field(
        default=1_048_576,
        ge=1_024,
        le=67_108_864,
        description="Size of the body of one request in bytes; 1 MiB holds the settlements of 10,000 records.",
    )
    peers_ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities that may sign the certificates of the other instances, to which"
        " the daemon forwards settlements; without it, with `tls`, the authorities of the system.",
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
        description="Number of open streams of all subscriptions; the daemon refuses more with RESOURCE_EXHAUSTED."
        " 2,000 idle streams need 100 to 200 MiB.",
    )
    keep_alive_s: float = Field(
        default=10.0,
        ge=1.0,
        le=60.0,
        description="Longest silence on a stream in seconds; 10 s, so that a client notices a lost daemon within"
        " half a minute.",
    )
    frame_bytes_max: int = Field(
        default=1_048_576,
        ge=1_024,
        le=67_108_864,
        description="Size of the records in one frame in bytes; a larger record has a frame of its own. 1 MiB is"
        " below the 4 MiB that gRPC clients accept by default.",
    )


class Reload(Table):
    """The files that the daemon reads again while it runs: secrets, tokens files, certificates and their keys."""

    interval_s: float = Field(
        default=5.0,
        ge=0.1,
        le=3_600.0,
        description="Pause in seconds between two checks of the files; 5 s, because an old and a new secret are"
        " usually both valid for longer. After an answer 401, 403 or 407 the daemon checks the files of that"
        " endpoint at once.",
    )


class Shutdown(Table):
    """The time between SIGTERM and the end of the process."""

    grace_s: float = Field(
        default=25.0,
        ge=0.0,
        le=3_600.0,
        description="Time in seconds that deliveries in flight may take to finish; 25 s are below the 30 s after"
        " which Kubernetes kills a pod. Deliveries that are cut off are repeated after the next start.",
    )


class Control(Table):
    """The topics that store pauses, limits and replay tasks, and the history of changes."""

    topic: InternalTopic = Field(
        default="__mps_control",
        description="Compacted topic shared by all instances, created if it does not exist; the underscores mark it"
        " as internal, like Kafka's own topics. Empty: no topic, and then nothing can be paused, limited, reset or"
        " replayed.",
    )
    audit_topic: InternalTopic = Field(
        default="__mps_audit",
        description="Topic that stores the history of all changes, created if it does not exist; empty: no history.",
    )
    audit_retention_s: int = Field(
        default=7_776_000,
        ge=0,
        le=315_360_000,
        description="Time in seconds for which a created audit topic keeps entries, 0: for ever; 90 days cover a"
        " quarter.",
    )
    replication_factor: int = Field(
        default=0, ge=0, le=100, description="Replicas of a created topic; 0: three, or as many as there are brokers."
    )
    write_timeout_s: float = Field(
        default=10.0,
        ge=0.1,
        le=600.0,
        description="Time in seconds within which all in-sync replicas must have a change; 10 s are longer than a"
        " change of leader.",
    )
    confirm_timeout_s: float = Field(
        default=10.0,
        ge=0.1,
        le=600.0,
        description="Time in seconds within which all instances must apply a change, else it is reported as not"
        " confirmed; 10 s are longer than a rebalance of healthy members.",
    )
    replays_max: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Number of replay tasks of all subscriptions that the daemon remembers; it forgets the oldest finished"
        " ones first. 100 tasks cover some weeks.",
    )
    replayed_bytes_max: int = Field(
        default=262_144,
        ge=1_024,
        le=900_000,
        description="Bytes to remember which dead letters of a source partition were replayed; at the bound the"
        " daemon refuses new replays. 256 KiB are below the 1 MiB of a record.",
    )


class Logging(Table):
    """The log that the daemon writes to standard error."""

    format: Literal["auto", "human", "json"] = Field(
        default="auto", description="Form of a line; auto is human on a terminal and JSON elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is written; info is one line per event and none per record."
    )
