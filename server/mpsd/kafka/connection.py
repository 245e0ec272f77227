"""How every client connects, and what its errors mean to us."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)

from mpsd.config import Kafka, reveal
from mpsd.errors import ConfigError, KafkaRefused, KafkaUnavailable, Problem

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


def client_options(kafka: Kafka) -> dict[str, Any]:
    """What aiokafka's consumer, producer and admin client all take.

    Raises:
        ConfigError: a certificate or key cannot be used.
    """
    security = kafka.security
    options: dict[str, Any] = {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "client_id": kafka.client_id,
        "security_protocol": security.protocol.upper().replace("-", "_"),
    }
    if security.protocol in {"ssl", "sasl-ssl"}:
        options["ssl_context"] = _ssl_context(kafka)
    if security.protocol.startswith("sasl"):
        options["sasl_mechanism"] = security.mechanism
        options["sasl_plain_username"] = reveal(security.username or "")
        options["sasl_plain_password"] = reveal(security.password or "")
    return options


def _ssl_context(kafka: Kafka) -> ssl.SSLContext:
    security = kafka.security
    try:
        context = ssl.create_default_context(cafile=str(security.ca) if security.ca else None)
        if security.cert:
            context.load_cert_chain(str(security.cert), str(security.key) if security.key else None)
    except OSError as error:
        raise ConfigError(
            [Problem(path="kafka.security", message=f"a certificate or key cannot be used: {error}")]
        ) from error
    return context


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Map what the library raises to ours.

    Args:
        what: completes "could not …".

    Raises:
        KafkaRefused: authentication, authorization, or a group that speaks another protocol.
        KafkaUnavailable: anything else, time-outs among it: trying again may help.
    """
    try:
        yield
    except _REFUSALS as error:
        hint = "grant it or correct kafka.security; it is tried again"
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
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(f"could not {what}: {_words(error)}") from error


def _words(error: BaseException) -> str:
    name = type(error).__name__.removesuffix("Error")
    details = ", ".join(str(argument) for argument in error.args)
    return f"{name} ({details})" if details else name
