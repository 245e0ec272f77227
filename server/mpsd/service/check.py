"""`mpsd --check` and `mpsctl doctor`: a look at brokers, topics, groups, endpoints and tokens that changes nothing."""

import asyncio
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mpsd.admin.daemon import Finding
from mpsd.config import Config, RestDelivery, Subscription
from mpsd.config.values import masked_url
from mpsd.delivery.rest.client.connector import tls_context
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.client.handshake import Handshake, describe_failure, shake_hands
from mpsd.errors import ConfigError, MpsError, Problem
from mpsd.kafka.cluster import Cluster, OpenTransaction, open_transactions
from mpsd.kafka.connection import client_options
from mpsd.kafka.dead_letters import weaknesses_of
from mpsd.kafka.internal_topics import InternalTopic
from mpsd.kafka.topic_look import TopicLook
from mpsd.listeners.tokens import load_tokens
from mpsd.service import open_files
from mpsd.service.build import dead_letter_settings, internal_topics

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
    endpoint, tls = Endpoint.of(delivery.url), delivery.tls
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
        why = describe_failure(error, has_certificate=tls is not None and tls.cert is not None)
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
    """Format findings for people, one line each."""
    return "\n".join(
        f"{'ok     ' if finding.ok else 'PROBLEM'} {finding.about}: {finding.text}" for finding in findings
    )


NOT_VISIBLE = "is not visible to this user"
NOT_SHOWN = "the settings of topic {} are not visible to this user"
WITHOUT_READ = "mpsctl dlq and replays cannot read it"
WITHOUT_WRITE = "no dead letter can be written"


async def topic_findings(cluster: Cluster, config: Config) -> list[Finding]:
    """Look at every topic and group of the configuration; one that is forbidden does not hide the others.

    Raises:
        KafkaUnavailable: the broker does not answer.
    """
    own = internal_topics(config.control)
    names = {topic for each in config.subscriptions for topic in (*each.topics, each.dead_letter.topic)}
    looks = await cluster.look(sorted(names | {topic.name for topic in own}))
    findings = []
    for subscription in config.subscriptions:
        findings += [_source(subscription.name, looks[topic]) for topic in subscription.topics]
        findings.append(await _group(cluster, subscription))
        findings += await _dead_letters(cluster, subscription, looks)
    for topic in own:
        findings += await _own_topic(cluster, topic, looks[topic.name])
    return findings


def _refused(about: str, text: str, right: str, *, works: bool = False) -> Finding:
    """Return a finding of a right that is missing, such as `Read on topic orders`."""
    return Finding(ok=False, about=about, text=text, code="kafka.refused", advice=f"grant {right}", works=works)


def _source(about: str, look: TopicLook) -> Finding:
    name = look.name
    if not look.is_visible:
        text = f"topic {name} {NOT_VISIBLE}: TopicAuthorizationFailed, nothing can be read"
        return _refused(about, text, f"Read on topic {name}")
    if not look.exists:
        text = f"topic {name} is missing: the subscription would wait until somebody creates it"
        return Finding(ok=False, about=about, text=text, advice=f"create topic {name}")
    if _lacks(look, "Read"):
        text = f"topic {name} may not be read by this user: TopicAuthorizationFailed"
        return _refused(about, text, f"Read on topic {name}")
    return Finding(ok=True, about=about, text=f"reads topic {name}: {look.partitions} partition(s)")


def _lacks(look: TopicLook, right: str) -> bool:
    return look.rights is not None and right not in look.rights


async def _group(cluster: Cluster, subscription: Subscription) -> Finding:
    about, group = subscription.name, subscription.group
    try:
        rights = await cluster.group_rights(group)
    except MpsError as error:
        return Finding(
            ok=False,
            about=about,
            text=f"group {group}: {error}",
            code=error.code,
            advice=f"grant Read on group {group}",
        )
    if rights is None:
        text = f"the rights on group {group} are not visible: the broker is too old to say"
        return Finding(ok=False, about=about, text=text, works=True)
    if "Read" not in rights:
        text = f"group {group} may not be joined by this user: GroupAuthorizationFailed"
        return _refused(about, text, f"Read on group {group}")
    return Finding(ok=True, about=about, text=f"may join group {group}")


async def _dead_letters(
    cluster: Cluster, subscription: Subscription, looks: Mapping[str, TopicLook]
) -> Sequence[Finding]:
    about, settings = subscription.name, dead_letter_settings(subscription)
    name = settings.topic
    look = looks[name]
    if not look.is_visible:
        text = f"dead-letter topic {name} {NOT_VISIBLE}: TopicAuthorizationFailed, {WITHOUT_WRITE}"
        return [_refused(about, text, f"Read and Write, and Create unless it exists, on topic {name}")]
    if not look.exists:
        try:
            await cluster.try_to_create(settings, looks)
        except MpsError as error:
            text, advice = f"dead-letter topic {name}: {error}", f"grant Create on topic {name}, or create it"
            return [Finding(ok=False, about=about, text=text, code=error.code, advice=advice)]
        return [Finding(ok=True, about=about, text=f"would create dead-letter topic {name}")]
    findings = []
    for right, effect in (("Write", WITHOUT_WRITE), ("Read", WITHOUT_READ)):
        if _lacks(look, right):
            text = f"dead-letter topic {name}: this user lacks {right}, {effect}"
            findings.append(_refused(about, text, f"{right} on topic {name}", works=right == "Read"))
    for hidden in [topic for topic in (name, *settings.source_topics) if _is_hidden(looks[topic])]:
        text = f"{NOT_SHOWN.format(hidden)}, so dead-letter topic {name} cannot be judged"
        findings.append(_refused(about, text, f"DescribeConfigs on topic {hidden}", works=True))
    weak = weaknesses_of(settings, looks, cluster.brokers)
    if unsafe := [each.text for each in weak if each.loses]:
        text = f"dead-letter topic {name} would lose dead letters, so nothing is written to it: {'; '.join(unsafe)}"
        advice = f"alter topic {name}, or name another in dead_letter.topic"
        findings.append(Finding(ok=False, about=about, text=text, code="dead_letter.topic_unsafe", advice=advice))
    if poor := [each.text for each in weak if not each.loses]:
        text = f"dead-letter topic {name} is weak: {'; '.join(poor)}"
        advice = f"alter topic {name}, or set dead_letter to match"
        findings.append(
            Finding(ok=False, about=about, text=text, code="dead_letter.topic_weak", advice=advice, works=True)
        )
    return findings or [Finding(ok=True, about=about, text=f"dead-letter topic {name} is as configured")]


def _is_hidden(look: TopicLook) -> bool:
    return look.exists and look.configs is None


async def _own_topic(cluster: Cluster, topic: InternalTopic, look: TopicLook) -> Sequence[Finding]:
    what = f"{topic.purpose} topic {topic.name}"
    if not look.is_visible:
        text = f"{what} {NOT_VISIBLE}: TopicAuthorizationFailed"
        return [_refused("control", text, f"Read, Write and Create on topic {topic.name}")]
    try:
        weak = await cluster.weaknesses(topic)
    except MpsError as error:
        return [Finding(ok=False, about="control", text=f"{what}: {error}", code=error.code)]
    if weak is None:
        return [await _own_creation(cluster, topic, what)]
    findings = [
        _refused("control", f"{what}: this user lacks {right}", f"{right} on topic {topic.name}")
        for right in ("Read", "Write")
        if _lacks(look, right)
    ]
    if look.configs is None:
        text = f"{NOT_SHOWN.format(topic.name)}: whether the {topic.purpose} topic is sound is not known"
        findings.append(_refused("control", text, f"DescribeConfigs on topic {topic.name}", works=True))
    elif weak:
        text = f"{what} is weaker than it should be: {', '.join(weak)}; alter it"
        findings.append(Finding(ok=False, about="control", text=text, advice=f"alter topic {topic.name}", works=True))
    return findings or [Finding(ok=True, about="control", text=f"{what} is as it should be")]


async def _own_creation(cluster: Cluster, topic: InternalTopic, what: str) -> Finding:
    try:
        await cluster.try_to_make(topic)
    except MpsError as error:
        advice = f"grant Create on topic {topic.name}, or create it"
        return Finding(ok=False, about="control", text=f"{what}: {error}", code=error.code, advice=advice)
    return Finding(ok=True, about="control", text=f"would create {what}")


ADVICE = (
    "if the producer is gone for good, abort its transaction with Kafka's kafka-transactions.sh; if not, it ends within its"
    " transaction.timeout.ms"
)


async def transaction_findings(config: Config, options: Mapping[str, Any]) -> list[Finding]:
    """Look for partitions that wait for an open transaction; those of subscriptions that read committed records alone.

    Args:
        options: of every Kafka client.
    """
    readers = {
        topic: each.name
        for each in config.subscriptions
        if each.isolation_level == "read_committed"
        for topic in each.topics
    }
    try:
        found = await open_transactions(options, sorted(readers))
    except MpsError as error:
        return [Finding(ok=False, about="kafka", text=str(error), code=error.code, works=True)]
    return [_finding(readers[each.tp.topic], each) for each in found]


def _finding(about: str, held_up: OpenTransaction) -> Finding:
    records = held_up.log_end - held_up.stable_end
    text = f"{held_up.tp} waits at {held_up.stable_end} for an open transaction: {records} offsets behind it cannot be read"
    for each in held_up.producers:
        silent_s = max(0, int(time.time() - each.wrote_at_ms / 1000))
        text += f"; producer id {each.id} (epoch {each.epoch}) began at {each.start}, last wrote {silent_s} s ago"
    if not held_up.producers:
        text += "; the broker does not say whose"
    return Finding(ok=False, about=about, text=text, code="kafka.open_transaction", advice=ADVICE, works=True)


def check_tokens(config: Config) -> None:
    """Read each tokens file and forget it.

    Raises:
        ConfigError: all that is wrong with them, such as a consumer of a subscription that there is not.
    """
    if problems := list(_problems(config)):
        raise ConfigError(problems)


def token_findings(config: Config) -> list[Finding]:
    """Find what is wrong with the tokens files."""
    code = ConfigError.code
    return [
        Finding(ok=False, about=problem.path, text=problem.message, code=code, advice="correct the file")
        for problem in _problems(config)
    ]


def _problems(config: Config) -> Iterator[Problem]:
    for table, listener in (("admin", config.admin), ("http", config.http), ("stream", config.stream)):
        if listener.tokens_file:
            try:
                load_tokens(table, listener.tokens_file, config.names)
            except ConfigError as error:
                yield from error.problems
