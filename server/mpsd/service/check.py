"""`mpsd --check`: what the daemon would do, and whether it could, without doing any of it."""

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mpsd.admin.daemon import Finding
from mpsd.config import Config, RestDelivery, Subscription, reveal
from mpsd.config.values import masked_url, split_user
from mpsd.delivery.rest.connector import tls_context
from mpsd.delivery.rest.handshake import Handshake, describe_failure, shake_hands
from mpsd.delivery.rest.settings import Endpoint
from mpsd.errors import MpsError
from mpsd.kafka.cluster import Cluster
from mpsd.kafka.connection import client_options
from mpsd.service import open_files
from mpsd.service.build import client_tls
from mpsd.service.callers import token_findings
from mpsd.service.check_topics import topic_findings

CONNECT_TIMEOUT_S = 5.0
CHECK_S_MAX = 60.0
CERTIFICATE_DAYS_MIN = 7
"""A certificate that is renewed by a machine is younger; one that is renewed by people needs the time."""
DAY_S = 86_400
TLS = "correct the certificates or delivery.tls; records wait, and go on by themselves"
CODES = "docs/reference/errors.md says what the code means and what to do"
ENDPOINT = "start the application, or correct delivery.url; records wait, and go on by themselves"


async def check(
    config: Config, options: Mapping[str, Any] | None = None, within_s: float = CHECK_S_MAX
) -> list[Finding]:
    """Look at the broker, the topics and the endpoints, all at once.

    Args:
        options: of every Kafka client; None: those of the configuration.
        within_s: a broker that does not answer until then is a finding; endpoints have `CONNECT_TIMEOUT_S`.
    """
    kafka, endpoints = await asyncio.gather(
        _kafka(config, options, within_s),
        asyncio.gather(*(check_endpoint(subscription) for subscription in config.subscriptions)),
    )
    return [*kafka, *endpoints, *token_findings(config), *open_files.findings(config)]


async def _kafka(config: Config, options: Mapping[str, Any] | None, within_s: float) -> list[Finding]:
    servers, findings = ", ".join(config.kafka.bootstrap_servers), []
    try:
        async with asyncio.timeout(within_s), Cluster(options or client_options(config.kafka)) as cluster:
            findings.append(Finding(ok=True, about="kafka", text=f"{cluster.brokers} broker(s) at {servers}"))
            findings += await topic_findings(cluster, config)
    except MpsError as error:
        findings.append(Finding(ok=False, about="kafka", text=str(error), code=error.code, advice=CODES))
    except TimeoutError:
        text = f"{servers}: no answer in time; nothing is delivered or committed until Kafka is back"
        findings.append(Finding(ok=False, about="kafka", text=text, code="kafka.unavailable", advice=CODES))
    return findings


async def check_endpoint(subscription: Subscription) -> Finding:
    """Connect, shake hands where the URL is https, and send nothing: a check must not deliver anything."""
    delivery, name = subscription.delivery, subscription.name
    if not isinstance(delivery, RestDelivery):
        return Finding(ok=True, about=name, text=f"waits for applications to come by {delivery.protocol}")
    url = masked_url(delivery.url)
    endpoint, tls = Endpoint.of(split_user(reveal(delivery.url))[0]), client_tls(delivery)
    try:
        if endpoint.is_tls:
            return _certificate(name, url, await shake_hands(endpoint, tls_context(tls), CONNECT_TIMEOUT_S))
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.close()
    except TimeoutError:
        what = "connection and TLS handshake" if endpoint.is_tls else "connection"
        text = f"{url}: no {what} within {CONNECT_TIMEOUT_S:g} s; records would wait"
        return Finding(ok=False, about=name, text=text, advice=ENDPOINT)
    except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError) as error:
        why = describe_failure(error, has_certificate=tls.cert is not None)
        return Finding(ok=False, about=name, text=f"{url}: {why}; records would wait", advice=TLS)
    except OSError as error:
        text = f"{url}: {error.strerror or error}; records would wait"
        return Finding(ok=False, about=name, text=text, advice=ENDPOINT)
    return Finding(ok=True, about=name, text=f"posts to {url}: takes connections")


def _certificate(name: str, url: str, hands: Handshake) -> Finding:
    """Say until when the endpoint's certificate is valid, and warn before it expires."""
    left_days = (hands.expires_s - time.time()) / DAY_S
    until = time.strftime("%Y-%m-%d", time.gmtime(hands.expires_s))
    text = f"posts to {url}: speaks {hands.version}, certificate valid until {until}"
    if left_days >= CERTIFICATE_DAYS_MIN:
        return Finding(ok=True, about=name, text=text)
    text += f", {max(0, int(left_days))} day(s) from now; records would wait after that"
    return Finding(ok=False, works=True, about=name, text=text, advice="renew the certificate of the endpoint")


def lines(findings: Sequence[Finding]) -> str:
    """For people: one line a finding."""
    return "\n".join(
        f"{'ok     ' if finding.ok else 'PROBLEM'} {finding.about}: {finding.text}" for finding in findings
    )
