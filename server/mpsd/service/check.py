"""`mpsd --check`: what the daemon would do, and whether it could, without doing any of it."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from mpsd.admin.daemon import Finding
from mpsd.config import Config, RestDelivery, Subscription
from mpsd.delivery.rest.settings import Endpoint
from mpsd.errors import MpsError
from mpsd.kafka.cluster import Cluster
from mpsd.kafka.connection import client_options
from mpsd.service import open_files
from mpsd.service.callers import token_findings
from mpsd.service.check_topics import topic_findings

CONNECT_TIMEOUT_S = 5.0
CODES = "docs/reference/errors.md says what the code means and what to do"
ENDPOINT = "start the application, or correct delivery.url; records wait, and go on by themselves"


async def check(config: Config, options: Mapping[str, Any] | None = None) -> list[Finding]:
    """Look at the broker, the topics and the endpoints; bounded by time-outs throughout.

    Args:
        options: of every Kafka client; None: those of the configuration.
    """
    findings = []
    try:
        async with Cluster(options or client_options(config.kafka)) as cluster:
            findings.append(
                Finding(
                    ok=True,
                    about="kafka",
                    text=f"{cluster.brokers} broker(s) at {', '.join(config.kafka.bootstrap_servers)}",
                )
            )
            findings += await topic_findings(cluster, config)
    except MpsError as error:
        findings.append(Finding(ok=False, about="kafka", text=str(error), code=error.code, advice=CODES))
    endpoints = await asyncio.gather(*(_endpoint(subscription) for subscription in config.subscriptions))
    return findings + endpoints + token_findings(config) + open_files.findings(config)


async def _endpoint(subscription: Subscription) -> Finding:
    """A connection, no request: a check must not deliver anything."""
    delivery = subscription.delivery
    if not isinstance(delivery, RestDelivery):
        return Finding(ok=True, about=subscription.name, text=f"waits for applications to come by {delivery.protocol}")
    url = delivery.url
    endpoint = Endpoint.of(url)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.close()
    except TimeoutError:
        text = f"{url}: no connection within {CONNECT_TIMEOUT_S:g} s"
        return Finding(ok=False, about=subscription.name, text=text, advice=ENDPOINT)
    except (OSError, socket.gaierror) as error:
        text = f"{url}: {error.strerror or error}; records would wait"
        return Finding(ok=False, about=subscription.name, text=text, advice=ENDPOINT)
    return Finding(ok=True, about=subscription.name, text=f"posts to {url}: takes connections")


def lines(findings: Sequence[Finding]) -> str:
    """For people: one line a finding."""
    return "\n".join(
        f"{'ok     ' if finding.ok else 'PROBLEM'} {finding.about}: {finding.text}" for finding in findings
    )
