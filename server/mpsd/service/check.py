"""`mpsd --check`: what the daemon would do, and whether it could, without doing any of it."""

import asyncio
import socket
from collections.abc import Sequence

from mpsd.admin.daemon import Finding
from mpsd.config import Config, RestDelivery, Subscription
from mpsd.delivery.rest.settings import Endpoint
from mpsd.errors import MpsError
from mpsd.kafka.cluster import Cluster, TopicDescription
from mpsd.kafka.connection import client_options
from mpsd.kafka.own_topics import OwnTopic
from mpsd.service import open_files
from mpsd.service.build_control import own_topics

CONNECT_TIMEOUT_S = 5.0
CODES = "docs/reference/errors.md says what the code means and what to do"
ENDPOINT = "start the application, or correct delivery.url; records wait, and go on by themselves"


async def check(config: Config) -> list[Finding]:
    """Look at the broker, the topics and the endpoints; bounded by time-outs throughout."""
    findings = []
    try:
        async with Cluster(client_options(config.kafka)) as cluster:
            findings.append(
                Finding(
                    ok=True,
                    about="kafka",
                    text=f"{cluster.brokers} broker(s) at {', '.join(config.kafka.bootstrap_servers)}",
                )
            )
            names = {topic for s in config.subscriptions for topic in (*s.topics, s.dead_letter.topic)}
            topics = await cluster.describe(sorted(names))
            for subscription in config.subscriptions:
                findings += _topics(subscription, topics)
            findings += [await _own_topic(cluster, topic) for topic in own_topics(config.control)]
    except MpsError as error:
        findings.append(Finding(ok=False, about="kafka", text=str(error), code=error.code, advice=CODES))
    endpoints = await asyncio.gather(*(_endpoint(subscription) for subscription in config.subscriptions))
    return findings + endpoints + open_files.findings(config)


def _topics(subscription: Subscription, topics: dict[str, TopicDescription]) -> list[Finding]:
    findings = []
    for name in subscription.topics:
        topic = topics.get(name)
        text = (
            f"reads topic {name}: {topic.partitions} partition(s)"
            if topic is not None
            else f"topic {name} is missing: the subscription would wait until somebody creates it"
        )
        advice = f"create topic {name}" if topic is None else ""
        findings.append(Finding(ok=topic is not None, about=subscription.name, text=text, advice=advice))
    return [*findings, _dead_letters(subscription, topics.get(subscription.dead_letter.topic))]


def _dead_letters(subscription: Subscription, topic: TopicDescription | None) -> Finding:
    name = subscription.dead_letter.topic
    if topic is None:
        return Finding(ok=True, about=subscription.name, text=f"would create dead-letter topic {name}")
    weak = []
    if topic.replicas < min(3, topic.brokers):
        weak.append(f"{topic.replicas} replica(s)")
    if topic.replicas >= 3 and topic.min_in_sync < 2:
        weak.append(f"min.insync.replicas {topic.min_in_sync}")
    wanted_ms = subscription.dead_letter.retention_s * 1000 or -1
    if 0 <= topic.retention_ms < wanted_ms or (wanted_ms < 0 <= topic.retention_ms):
        weak.append(f"retention {topic.retention_ms // 1000} s")
    if weak:
        text = f"dead-letter topic {name} is weaker than configured: {', '.join(weak)}; alter it, or set dead_letter to match"
        return Finding(ok=False, about=subscription.name, text=text, advice=f"alter topic {name}", works=True)
    return Finding(ok=True, about=subscription.name, text=f"dead-letter topic {name} is as configured")


async def _own_topic(cluster: Cluster, topic: OwnTopic) -> Finding:
    try:
        weak = await cluster.weaknesses(topic)
    except MpsError as error:
        return Finding(ok=False, about="control", text=f"{topic.purpose} topic {topic.name}: {error}")
    if weak is None:
        return Finding(ok=True, about="control", text=f"would create {topic.purpose} topic {topic.name}")
    if weak:
        text = f"{topic.purpose} topic {topic.name} is weaker than it should be: {', '.join(weak)}; alter it"
        return Finding(ok=False, about="control", text=text)
    return Finding(ok=True, about="control", text=f"{topic.purpose} topic {topic.name} is as it should be")


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
