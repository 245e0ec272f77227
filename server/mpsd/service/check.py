"""`mpsd --check` and `mpsctl doctor`: a look at brokers, topics, groups, endpoints and tokens that changes nothing."""

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence

from mpsd.admin.daemon import Finding, fine, problem, warning
from mpsd.config import Config, RestDelivery, Subscription
from mpsd.config.values import masked_url
from mpsd.delivery.rest.client.connector import tls_context
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.client.handshake import Handshake, describe_failure, shake_hands
from mpsd.errors import ConfigError, MpsError, Problem
from mpsd.kafka.cluster import Cluster, OpenTransaction, open_transactions
from mpsd.kafka.connection import ClientOptions, Options
from mpsd.listeners.tokens import load_tokens
from mpsd.service import open_files
from mpsd.service.check_topics import topic_findings

CONNECT_TIMEOUT_S = 5.0
CHECK_S_MAX = 60.0
CERTIFICATE_DAYS_MIN = 7
"""A certificate that is renewed by a machine is younger; one that is renewed by people needs the time."""
DAY_S = 86_400
TLS = "correct the certificates or delivery.tls; records wait, and go on by themselves"
CODES = "docs/reference/errors.md says what the code means and what to do"
ENDPOINT = "start the application, or correct delivery.url; records wait, and go on by themselves"


async def check(config: Config, options: Options | None = None, within_s: float = CHECK_S_MAX) -> list[Finding]:
    """Look at the broker, the topics and the endpoints, all at once.

    Args:
        options: None: those of the configuration.
        within_s: a broker that does not answer until then is a finding; endpoints have `CONNECT_TIMEOUT_S`.
    """
    kafka, endpoints = await asyncio.gather(
        _kafka(config, options, within_s),
        asyncio.gather(*(check_endpoint(subscription) for subscription in config.subscriptions)),
    )
    return [*kafka, *endpoints, *token_findings(config), *open_files.findings(config)]


async def _kafka(config: Config, options: Options | None, within_s: float) -> list[Finding]:
    servers, findings = ", ".join(config.kafka.bootstrap_servers), []
    try:
        async with asyncio.timeout(within_s), Cluster(options or ClientOptions(config.kafka)) as cluster:
            findings.append(fine("kafka", f"{cluster.brokers} broker(s) at {servers}"))
            findings += await topic_findings(cluster, config)
    except MpsError as error:
        findings.append(problem("kafka", str(error), code=error.code, advice=CODES))
    except TimeoutError:
        text = f"{servers}: no answer in time; nothing is delivered or committed until Kafka is back"
        findings.append(problem("kafka", text, code="kafka.unavailable", advice=CODES))
    return findings


async def check_endpoint(subscription: Subscription) -> Finding:
    """Connect, shake hands where the URL is https, and send nothing: a check must not deliver anything."""
    delivery, name = subscription.delivery, subscription.name
    if not isinstance(delivery, RestDelivery):
        return fine(name, f"waits for applications to come by {delivery.protocol}")
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
        return problem(name, text, advice=ENDPOINT)
    except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError) as error:
        why = describe_failure(error, has_certificate=tls is not None and tls.cert is not None)
        return problem(name, f"{url}: {why}; records would wait", advice=TLS)
    except OSError as error:
        text = f"{url}: {error.strerror or error}; records would wait"
        return problem(name, text, advice=ENDPOINT)
    return fine(name, f"posts to {url}: takes connections")


def _certificate(name: str, url: str, hands: Handshake) -> Finding:
    """Say until when the endpoint's certificate is valid, and warn before it expires."""
    left_days = (hands.expires_s - time.time()) / DAY_S
    until = time.strftime("%Y-%m-%d", time.gmtime(hands.expires_s))
    text = f"posts to {url}: speaks {hands.version}, certificate valid until {until}"
    if left_days >= CERTIFICATE_DAYS_MIN:
        return fine(name, text)
    text += f", {max(0, int(left_days))} day(s) from now; records would wait after that"
    return warning(name, text, advice="renew the certificate of the endpoint")


def lines(findings: Sequence[Finding]) -> str:
    """Format findings for people, one line each."""
    return "\n".join(
        f"{'ok     ' if finding.ok else 'PROBLEM'} {finding.about}: {finding.text}" for finding in findings
    )


ADVICE = (
    "if the producer is gone for good, abort its transaction with Kafka's kafka-transactions.sh; if not, it ends within its"
    " transaction.timeout.ms"
)


async def transaction_findings(config: Config, options: Options) -> list[Finding]:
    """Look for partitions that wait for an open transaction; those of subscriptions that read committed records alone."""
    readers = {
        topic: each.name
        for each in config.subscriptions
        if each.isolation_level == "read_committed"
        for topic in each.topics
    }
    try:
        found = await open_transactions(options, sorted(readers))
    except MpsError as error:
        return [warning("kafka", str(error), code=error.code)]
    return [_finding(readers[each.tp.topic], each) for each in found]


def _finding(about: str, held_up: OpenTransaction) -> Finding:
    records = held_up.log_end - held_up.stable_end
    text = f"{held_up.tp} waits at {held_up.stable_end} for an open transaction: {records} offsets behind it cannot be read"
    for each in held_up.producers:
        silent_s = max(0, int(time.time() - each.wrote_at_ms / 1000))
        text += f"; producer id {each.id} (epoch {each.epoch}) began at {each.start}, last wrote {silent_s} s ago"
    if not held_up.producers:
        text += "; the broker does not say whose"
    return warning(about, text, code="kafka.open_transaction", advice=ADVICE)


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
    return [problem(each.path, each.message, code=code, advice="correct the file") for each in _problems(config)]


def _problems(config: Config) -> Iterator[Problem]:
    for table, listener in (("admin", config.admin), ("http", config.http), ("stream", config.stream)):
        if listener.tokens_file:
            try:
                load_tokens(table, listener.tokens_file, config.names)
            except ConfigError as error:
                yield from error.problems
