"""Builders: the one place where the configuration becomes settings of stages, clients and policies."""

from collections.abc import Callable, Mapping
from typing import Any, assert_never

from mpsd.config import (
    Config,
    PullDelivery,
    RestDelivery,
    Stream,
    StreamDelivery,
    Subscription,
    idempotency_header,
    reveal,
)
from mpsd.config.daemon import Control as ControlTable
from mpsd.config.values import masked_url, split_user
from mpsd.core.breaker import BreakerRules
from mpsd.core.dead_letter import Sender
from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import MapSpace
from mpsd.core.retry import RetryRules
from mpsd.core.retry_policy import PolicyRules
from mpsd.core.status_table import Meaning
from mpsd.delivery.pull.adapter import PullAdapter
from mpsd.delivery.pull.settings import PullSettings
from mpsd.delivery.rest import BatchAdapter, BatchSettings, ClientTls, RestAdapter, RestSettings
from mpsd.delivery.rest.settings import Endpoint
from mpsd.delivery.stream.settings import StreamSettings
from mpsd.errors import ConfigError, Problem
from mpsd.kafka.audit import AuditSettings, KafkaAudit
from mpsd.kafka.batches import end_at_unreadable_batches
from mpsd.kafka.consumer import GroupSettings
from mpsd.kafka.control_log import ControlSettings, KafkaControlLog
from mpsd.kafka.dead_letter_log import KafkaDeadLetterLog
from mpsd.kafka.dead_letter_topic import DeadLetterSettings
from mpsd.kafka.dead_letters import KafkaDeadLetters
from mpsd.kafka.decompression import bound_batches
from mpsd.kafka.group import KafkaGroup
from mpsd.kafka.internal_topics import InternalTopic
from mpsd.kafka.republisher import KafkaRepublisher
from mpsd.pipeline.controls import Control
from mpsd.pipeline.ordering import Ordering
from mpsd.pipeline.pending_queue import PendingBudget
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replays import Replaying
from mpsd.pipeline.settings import Settings
from mpsd.ports import NOWHERE, DeliveryAdapter, Peer
from mpsd.service.control import ControlPlane
from mpsd.service.reload import Reloads, watch_delivery
from mpsd.service.reload import Watched as WatchedPart

Watched = Callable[[DeliveryAdapter], DeliveryAdapter]
"""What an adapter is wrapped in by who wants to see each delivery."""
PREFETCHES = 1
"""Fetches that the client library holds beside the one being handed out; they count towards limits.pending_bytes_max."""


def pipelines(
    config: Config, options: Mapping[str, Any], peer: Peer, control: Control, watched: Watched, reloads: Reloads
) -> list[Pipeline]:
    """Return one pipeline for each subscription, not connected yet.

    Args:
        options: of every Kafka client; see `kafka.connection.client_options`.
        peer: where others reach this daemon.
        control: what pipelines ask of the control state.
        reloads: looks after the files that adapters use.

    Raises:
        ConfigError: a certificate, key or secret cannot be used.
    """
    bound_batches(config.kafka.batch_bytes_max)
    end_at_unreadable_batches()
    prefetched = PREFETCHES * config.kafka.fetch_bytes_max * len(config.subscriptions)
    budget = PendingBudget(config.limits.pending_bytes_max - prefetched)

    def adapter(subscription: Subscription, may_start: Callable[[], bool]) -> DeliveryAdapter:
        return watched(_adapter(config, subscription, peer, may_start, reloads))

    return [_pipeline(config, each, options, budget, peer, control, adapter) for each in config.subscriptions]


def _pipeline(
    config: Config,
    subscription: Subscription,
    options: Mapping[str, Any],
    budget: PendingBudget,
    peer: Peer,
    control: Control,
    adapter: Callable[[Subscription, Callable[[], bool]], DeliveryAdapter],
) -> Pipeline:
    group = KafkaGroup(group_settings(config, subscription, peer), options)
    return Pipeline(
        pipeline_settings(subscription),
        group,
        adapter(subscription, lambda: group.lease_left_s() > 0),
        KafkaDeadLetters(dead_letter_settings(subscription), options),
        budget,
        control=control,
        replaying=replaying(config, subscription, options, control),
    )


def _adapter(
    config: Config, subscription: Subscription, peer: Peer, may_start: Callable[[], bool], reloads: Reloads
) -> DeliveryAdapter:
    """Return the adapter of the protocol that the configuration names."""
    delivery = subscription.delivery
    match delivery:
        case RestDelivery():
            return rest_adapter(subscription, watch_delivery(reloads, config, subscription), may_start)
        case StreamDelivery():
            from mpsd.delivery.stream.adapter import StreamAdapter  # noqa: PLC0415 - gRPC takes long to load, and others do without

            return StreamAdapter(
                stream_settings(subscription.name, delivery, config.stream, peer.network), may_start=may_start
            )
        case PullDelivery():
            return PullAdapter(pull_settings(subscription.name, delivery, peer), may_start)
        case _:
            assert_never(delivery)


def rest_adapter(
    subscription: Subscription, kept: WatchedPart[RestDelivery], may_start: Callable[[], bool]
) -> RestAdapter | BatchAdapter:
    """Return an adapter whose secrets and certificates follow their files."""
    settings = rest_settings(subscription, kept.part)
    adapter = (
        RestAdapter(settings, may_start=may_start, look_again=kept.look_soon)
        if settings.batch is None
        else BatchAdapter(settings, settings.batch, may_start=may_start, look_again=kept.look_soon)
    )

    def renew(delivery: RestDelivery) -> None:
        fresh = rest_settings(subscription, delivery)
        if Endpoint.of(fresh.url).origin != Endpoint.of(settings.url).origin:
            message = "the URL leads to another host by now, which needs a restart"
            raise ConfigError([Problem(path="url", message=message, subscription=subscription.name)])
        adapter.renew(fresh)

    kept.use = renew
    return adapter


def endpoint(subscription: Subscription) -> str:
    """Return the endpoint's name in dead letters: the URL, or the protocol by which applications connect."""
    delivery = subscription.delivery
    return masked_url(delivery.url) if isinstance(delivery, RestDelivery) else delivery.protocol


def pipeline_settings(subscription: Subscription) -> Settings:
    """Return the settings of the pipeline's stages."""
    retry, breaker, delivery = subscription.retry, subscription.breaker, subscription.delivery
    ordering = subscription.ordering
    batch = delivery.batch if isinstance(delivery, RestDelivery) else None
    return Settings(
        name=subscription.name,
        sender=Sender(subscription=subscription.name, group=subscription.group, endpoint=endpoint(subscription)),
        ordering=Ordering(by=ordering.by, null_key=ordering.null_key),
        records_max=subscription.pending.records_max,
        bytes_max=subscription.pending.bytes_max,
        rules=PolicyRules(
            retry=RetryRules(
                attempts_max=retry.attempts_max,
                backoff_initial_s=retry.backoff_initial_s,
                backoff_max_s=retry.backoff_max_s,
                record_age_max_s=retry.record_age_max_s,
            ),
            breaker=BreakerRules(
                lanes_min=breaker.lanes_min,
                failures_min=breaker.failures_min,
                successes_between=breaker.successes_between,
                probe_interval_s=breaker.probe_interval_s,
                rejections_max=breaker.rejections_max,
                rejection_lanes_min=1 if ordering.by == "partition" else breaker.lanes_min,
            ),
            crowding_attempts_max=retry.crowding_attempts_max,
            failing_key_after=retry.failing_key_after,
            failing_keys_max=retry.failing_keys_max,
            lost_window_s=retry.lost_window_s,
            concurrency_max=delivery.concurrency_max * (batch.records_max if batch is not None else 1),
        ),
        dead_lettering=RetryRules(
            attempts_max=1,
            backoff_initial_s=subscription.dead_letter.backoff_initial_s,
            backoff_max_s=subscription.dead_letter.backoff_max_s,
        ),
        rate_max_per_s=delivery.rate_max_per_s,
        commit_interval_s=subscription.commit.interval_s,
        map_space=MapSpace(Packing(subscription.commit.metadata), subscription.commit.metadata_units_max),
        drain_timeout_s=subscription.rebalance.drain_timeout_s,
        runs_max=batch.records_max if batch is not None and batch.keys == "runs" else 1,
        blocked_keys_max=ordering.blocked_keys_max if ordering.after_dead_letter == "block" else 0,
        receiver_timeout_s=None if isinstance(delivery, RestDelivery) else delivery.receiver_timeout_s,
    )


def group_settings(config: Config, subscription: Subscription, peer: Peer = NOWHERE) -> GroupSettings:
    """Return the settings of the group membership."""
    kafka = config.kafka
    return GroupSettings(
        subscription=subscription.name,
        group=subscription.group,
        topics=tuple(subscription.topics),
        start=subscription.start,
        out_of_range=subscription.out_of_range,
        isolation_level=subscription.isolation_level,
        session_timeout_ms=kafka.session_timeout_ms,
        rebalance_timeout_ms=kafka.rebalance_timeout_ms,
        heartbeat_interval_ms=kafka.heartbeat_interval_ms,
        fetch_bytes_max=kafka.fetch_bytes_max,
        metadata_age_max_ms=kafka.metadata_age_max_ms,
        silence_max_ms=kafka.silence_max_ms,
        peer=peer,
    )


def dead_letter_settings(subscription: Subscription) -> DeadLetterSettings:
    """Return the settings of the dead-letter sink."""
    dead_letter = subscription.dead_letter
    return DeadLetterSettings(
        topic=dead_letter.topic,
        source_topics=tuple(subscription.topics),
        retention_s=dead_letter.retention_s,
        replication_factor=dead_letter.replication_factor,
        write_timeout_s=dead_letter.write_timeout_s,
    )


def pull_settings(subscription: str, delivery: PullDelivery, peer: Peer) -> PullSettings:
    """Return the settings of the pull adapter."""
    return PullSettings(
        subscription=subscription,
        address=peer.http,
        content_type=delivery.content_type,
        instance=peer.instance,
        network=peer.network,
        concurrency_max=delivery.concurrency_max,
        lease_s=delivery.lease_s,
        lease_total_max_s=delivery.lease_total_max_s,
        records_max=delivery.records_max,
        bytes_max=delivery.bytes_max,
        wait_max_s=delivery.wait_max_s,
        waiters_max=delivery.waiters_max,
        idempotency_header=idempotency_header(delivery.idempotency_key),
    )


def rest_settings(subscription: Subscription, delivery: RestDelivery) -> RestSettings:
    """Return the settings of a REST adapter, with secrets in clear text."""
    auth, batch = delivery.auth, delivery.batch
    basic = auth.basic if auth is not None else None
    url, user = split_user(reveal(delivery.url))
    return RestSettings(
        subscription=subscription.name,
        url=url,
        method=delivery.method,
        concurrency_max=delivery.concurrency_max,
        timeout_s=delivery.timeout_s,
        connect_timeout_s=delivery.connect_timeout_s,
        connection_age_max_s=delivery.connection_age_max_s,
        connection_idle_max_s=delivery.connection_idle_max_s,
        request_header_bytes_max=delivery.request_header_bytes_max,
        response_header_bytes_max=delivery.response_header_bytes_max,
        response_body_bytes_max=delivery.response_body_bytes_max,
        retry_after_max_s=delivery.retry_after_max_s,
        body=delivery.body,
        content_type=delivery.content_type,
        record_headers=delivery.record_headers,
        idempotency_header=idempotency_header(delivery.idempotency_key),
        headers={name: reveal(value) for name, value in delivery.headers.items()},
        basic=(reveal(basic.username), reveal(basic.password)) if basic is not None else user if auth is None else None,
        bearer=reveal(auth.bearer) if auth is not None and auth.bearer is not None else None,
        webhook_secrets=tuple(reveal(secret) for secret in delivery.webhook_secrets),
        tls=client_tls(delivery),
        batch=BatchSettings(
            records_max=batch.records_max,
            bytes_max=batch.bytes_max,
            dead_letter_stops_key=subscription.ordering.after_dead_letter == "block",
        )
        if batch.records_max > 1
        else None,
        status={status: Meaning(meaning) for status, meaning in delivery.status.items()},
        reads_body=delivery.reason == "body",
    )


def client_tls(delivery: RestDelivery) -> ClientTls:
    """Return the files of the TLS towards an endpoint."""
    tls = delivery.tls
    return ClientTls(
        ca=str(tls.ca) if tls is not None and tls.ca else None,
        cert=str(tls.cert) if tls is not None and tls.cert else None,
        key=str(tls.key) if tls is not None and tls.key else None,
    )


def stream_settings(subscription: str, delivery: StreamDelivery, stream: Stream, network: str = "") -> StreamSettings:
    """Return the settings of the stream adapter."""
    return StreamSettings(
        subscription=subscription,
        content_type=delivery.content_type,
        concurrency_max=delivery.concurrency_max,
        lease_s=delivery.lease_s,
        lease_total_max_s=delivery.lease_total_max_s,
        keep_alive_s=stream.keep_alive_s,
        frame_bytes_max=stream.frame_bytes_max,
        network=network,
        idempotency_header=idempotency_header(delivery.idempotency_key),
    )


def control_plane(config: Config, options: Mapping[str, Any], instance: str) -> ControlPlane:
    """Return the control state of all subscriptions, not connected yet.

    Args:
        options: of every Kafka client; see `kafka.connection.client_options`.
        instance: what others call this daemon.
    """
    control = config.control
    groups = {subscription.group for subscription in config.subscriptions}
    if not control.topic:
        return ControlPlane(None, None, groups, instance)
    log = KafkaControlLog(control_settings(control), options)
    audit = KafkaAudit(audit_settings(control), options) if control.audit_topic else None
    return ControlPlane(log, audit, groups, instance)


def internal_topics(control: ControlTable) -> list[InternalTopic]:
    """Return the control topic and the audit topic, as far as they are configured."""
    audit = [audit_settings(control).own_topic] if control.topic and control.audit_topic else []
    return [control_settings(control).own_topic, *audit] if control.topic else []


def control_settings(control: ControlTable) -> ControlSettings:
    """Return the settings of the control log."""
    return ControlSettings(
        topic=control.topic,
        replication_factor=control.replication_factor,
        write_timeout_s=control.write_timeout_s,
    )


def audit_settings(control: ControlTable) -> AuditSettings:
    """Return the settings of the audit log."""
    return AuditSettings(
        topic=control.audit_topic,
        retention_s=control.audit_retention_s,
        replication_factor=control.replication_factor,
        timeout_s=control.write_timeout_s,
    )


def replaying(
    config: Config, subscription: Subscription, options: Mapping[str, Any], control: Control
) -> Replaying | None:
    """Return what a subscription replays with, not connected yet; None without a control topic, which stores the tasks."""
    if not control.is_on:
        return None
    dead_letter = subscription.dead_letter
    return Replaying(
        topic=dead_letter.topic,
        log=KafkaDeadLetterLog(dead_letter.topic, options),
        republisher=KafkaRepublisher(options, dead_letter.write_timeout_s),
        replays_max=dead_letter.replays_max,
        replayed_bytes_max=config.control.replayed_bytes_max,
        tasks_max=config.control.replays_max,
        record=control.record,
    )
