"""Connections of all Kafka clients, and the mapping of their errors to ours."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from weakref import WeakSet

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, CloseReason, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    BrokerResponseError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest
from typing_extensions import override

from mpsd.config import Kafka, Security, reveal
from mpsd.errors import ConfigError, KafkaRefused, KafkaUnavailable, Problem
from mpsd.tls import LiveContext

_NAMES = {
    -1: "UnknownServerException",
    73: "TopicDeletionDisabled",
    74: "FencedLeaderEpoch",
    75: "UnknownLeaderEpoch",
    76: "UnsupportedCompressionType",
    77: "StaleBrokerEpoch",
    78: "OffsetNotAvailable",
    80: "PreferredLeaderNotAvailable",
    81: "GroupMaxSizeReached",
    82: "FencedInstanceId",
    83: "EligibleLeadersNotAvailable",
    84: "ElectionNotNeeded",
    85: "NoReassignmentInProgress",
    86: "GroupSubscribedToTopic",
    87: "InvalidRecord",
    88: "UnstableOffsetCommit",
    89: "ThrottlingQuotaExceeded",
    90: "ProducerFenced",
    91: "ResourceNotFound",
    92: "DuplicateResource",
    93: "UnacceptableCredential",
    94: "InconsistentVoterSet",
    95: "InvalidUpdateVersion",
    96: "FeatureUpdateFailed",
    97: "PrincipalDeserializationFailure",
    98: "SnapshotNotFound",
    99: "PositionOutOfRange",
    100: "UnknownTopicId",
    101: "DuplicateBrokerRegistration",
    102: "BrokerIdNotRegistered",
    103: "InconsistentTopicId",
    104: "InconsistentClusterId",
    105: "TransactionalIdNotFound",
    106: "FetchSessionTopicIdError",
    107: "IneligibleReplica",
    108: "NewLeaderElected",
    109: "OffsetMovedToTieredStorage",
    110: "FencedMemberEpoch",
    111: "UnreleasedInstanceId",
    112: "UnsupportedAssignor",
    113: "StaleMemberEpoch",
    114: "MismatchedEndpointType",
    115: "UnsupportedEndpointType",
    116: "UnknownControllerId",
    117: "UnknownSubscriptionId",
    118: "TelemetryTooLarge",
    119: "InvalidRegistration",
    120: "TransactionAbortable",
    121: "InvalidRecordState",
    122: "ShareSessionNotFound",
    123: "InvalidShareSessionEpoch",
    124: "FencedStateEpoch",
    125: "InvalidVoterKey",
    126: "DuplicateVoter",
    127: "VoterNotFound",
    128: "InvalidRegularExpression",
    129: "RebootstrapRequired",
    130: "StreamsInvalidTopology",
    131: "StreamsInvalidTopologyEpoch",
    132: "StreamsTopologyFenced",
    133: "ShareSessionLimitReached",
    134: "GroupDeletionFailed",
}


class _Named(dict[int, type[BrokerResponseError]]):
    """The library's table of errors, with a name for every code; an error new here behaves as an unknown one."""

    @override
    def get(self, code: int, default: Any = None) -> Any:
        if self.setdefault(code, UnknownError) is UnknownError:
            name = _NAMES.get(code, f"BrokerError{code}")
            self[code] = type(name, (UnknownError,), {"errno": code, "message": name, "description": name})
        return self[code]


def name_errors() -> None:
    """Teach the library the names."""
    errors.kafka_errors = _Named(errors.kafka_errors)


name_errors()


def lose_closed_connections() -> None:
    """Teach the library that a closed transport is a lost connection.

    The library hears of the end of a transport some turns of the loop later. uvloop raises a RuntimeError when the
    library writes in between, which ended whoever asked, such as the committer.
    """
    send = AIOKafkaConnection.send

    def send_if_open(connection: Any, request: Any, expect_response: bool = True) -> Any:
        if connection._writer is not None and connection._writer.is_closing():
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
        return send(connection, request, expect_response)

    AIOKafkaConnection.send = send_if_open


lose_closed_connections()

_REFUSALS = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)


Options = Mapping[str, Any]
"""Options of every Kafka client: `ClientOptions`, or plain ones."""


class ClientOptions(dict[str, Any]):
    """Options that aiokafka's consumer, producer and admin client all take: `AIOKafkaConsumer(**options)`.

    Those that follow connect again with the password and the certificates that are in use by then.
    """

    def __init__(self, kafka: Kafka) -> None:
        """Read the security settings.

        Raises:
            ConfigError: a certificate or key cannot be used.
        """
        security = kafka.security
        super().__init__(
            bootstrap_servers=list(kafka.bootstrap_servers),
            client_id=kafka.client_id,
            security_protocol=security.protocol.upper().replace("-", "_"),
        )
        self._followers: WeakSet[Any] = WeakSet()
        if security.protocol in {"ssl", "sasl-ssl"}:
            self["ssl_context"] = LiveContext(_ssl_context(security))
        if security.protocol.startswith("sasl"):
            self["sasl_mechanism"] = security.mechanism
            self._log_in(security)

    def renew(self, security: Security) -> None:
        """Connect with another password and other certificates from now on; connections that stand go on.

        Raises:
            ConfigError: a certificate or key cannot be used; all stays as it was.
        """
        if isinstance(context := self.get("ssl_context"), LiveContext):
            context.exchange(_ssl_context(security))
        if "sasl_mechanism" in self:
            self._log_in(security)
            for client in self._followers:
                client._sasl_plain_username = self["sasl_plain_username"]
                client._sasl_plain_password = self["sasl_plain_password"]

    def follow(self, client: Any) -> None:
        """Let a consumer, producer or admin client log in as these options say whenever it connects, until it is gone."""
        self._followers.add(client.client if hasattr(client, "client") else client._client)

    def _log_in(self, security: Security) -> None:
        self["sasl_plain_username"] = reveal(security.username or "")
        self["sasl_plain_password"] = reveal(security.password or "")


def _ssl_context(security: Security) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(security.ca) if security.ca else None)
        if security.cert:
            context.load_cert_chain(str(security.cert), str(security.key) if security.key else None)
    except OSError as error:
        raise ConfigError(
            [Problem(path="kafka.security", message=f"a certificate or key cannot be used: {error}")]
        ) from error
    return context


async def start(client: Any, options: Options) -> None:
    """Connect a client; where it finds no broker, raise why, which the library logs and does not say.

    Raises:
        KafkaError, OSError: as the library does, of the last server that was asked.
    """
    try:
        if isinstance(options, ClientOptions):
            options.follow(client)
        await client.start()
    except KafkaConnectionError:
        given = {name: value for name, value in options.items() if name != "bootstrap_servers"}
        for server in options["bootstrap_servers"]:
            host, _, port = server.rpartition(":")
            (await create_conn(host.strip("[]"), int(port), **given)).close()
        raise


@asynccontextmanager
async def admin_client(options: Options, timeout_s: float, **more: Any) -> AsyncIterator[Any]:
    """Connect an admin client, and close it with the block, which ends with a TimeoutError when the time is over.

    Args:
        more: options of this client.
    """
    admin = AIOKafkaAdminClient(**options, **more)
    try:
        async with asyncio.timeout(timeout_s):
            await start(admin, options)
            yield admin
    finally:
        await admin.close()


async def existing_topics(admin: Any, topics: Sequence[str]) -> set[str]:
    """Return the topics that exist, without creating any by asking.

    Raises:
        TopicAuthorizationFailedError: some may not be described; lists of topics leave those out.
    """
    listed = set(await admin.list_topics())
    if missing := [topic for topic in topics if topic not in listed]:
        answer = await admin._send_request(MetadataRequest(missing, allow_auto_topic_creation=False))
        refused = [
            topic["topic"]
            for topic in answer.to_object()["topics"]
            if for_code(topic["error_code"]) is TopicAuthorizationFailedError
        ]
        if refused:
            raise TopicAuthorizationFailedError(*refused)
    return listed.intersection(topics)


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Map what the library raises to ours.

    Args:
        what: completes "could not …".

    Raises:
        KafkaRefused: authentication, authorization, or a group that speaks another protocol.
        KafkaUnavailable: anything else, time-outs and cancellations of the library's own among it: trying again may help.
    """
    try:
        yield
    except _REFUSALS as error:
        hint = "grant the right or correct kafka.security; retrying"
        raise KafkaRefused(f"could not {what}: {_words(error)}; {hint}") from error
    except InconsistentGroupProtocolError as error:
        raise KafkaRefused(
            f"could not {what}: the group has members that assign partitions in another way (a plain consumer, or an"
            " incompatible version); end them or choose another group"
        ) from error
    except InvalidSessionTimeoutError as error:
        raise KafkaRefused(f"could not {what}: the broker does not allow kafka.session_timeout_ms") from error
    except TimeoutError as error:
        raise KafkaUnavailable(f"could not {what}: no answer in time") from error
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is None or task.cancelling():
            raise
        raise KafkaUnavailable(f"could not {what}: the client library gave up") from error
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(f"could not {what}: {_words(error)}") from error


@asynccontextmanager
async def asking_within(what: str, timeout_s: float) -> AsyncIterator[None]:
    """Map errors as `asking` does, and end the block when the time is over."""
    with asking(what):
        async with asyncio.timeout(timeout_s):
            yield


def _words(error: BaseException) -> str:
    name = type(error).__name__.removesuffix("Error")
    details = ", ".join(str(argument) for argument in error.args)
    return f"{name} ({details})" if details else name
