"""Builders: the one place where the configuration becomes settings of stages, clients and policies."""

from collections.abc import Callable
from dataclasses import fields
from typing import TypeVar, assert_never

from mpsd.config import Config, PullDelivery, RestDelivery, StreamDelivery, Subscription
from mpsd.config.values import Table, masked_url
from mpsd.core.breaker import BreakerRules
from mpsd.core.dead_letter import Sender
from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import MapSpace
from mpsd.core.retry import RetryRules
from mpsd.core.retry_policy import PolicyRules
from mpsd.delivery.pull.adapter import PullAdapter
from mpsd.delivery.rest import BatchAdapter, RestAdapter, Surroundings
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.errors import ConfigError, Problem
from mpsd.kafka.audit import KafkaAudit
from mpsd.kafka.batches import bound_batches
from mpsd.kafka.connection import Options
from mpsd.kafka.consumer import GroupSettings
from mpsd.kafka.control_log import KafkaControlLog
from mpsd.kafka.dead_letter_log import KafkaDeadLetterLog
from mpsd.kafka.dead_letters import KafkaDeadLetters
from mpsd.kafka.group import KafkaGroup
from mpsd.kafka.producer import KafkaRepublisher
from mpsd.pipeline.pending_queue import PendingBudget
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replay.sender import Replaying
from mpsd.pipeline.settings import Settings
from mpsd.ports import NOWHERE, Control, DeliveryAdapter, Peer
from mpsd.service.control import ControlPlane
from mpsd.service.reload import Reloads, watch_delivery
from mpsd.service.reload import Watched as WatchedPart

Watched = Callable[[DeliveryAdapter], DeliveryAdapter]
"""A wrapper of adapters, for a tool that sees each delivery."""
Made = TypeVar("Made")
PREFETCHES = 1
"""Fetches that the client library holds beside the one being handed out; they count towards limits.pending_bytes_max."""


def pipelines(
    config: Config, options: Options, peer: Peer, control: Control, watched: Watched, reloads: Reloads
) -> list[Pipeline]:
    """Return one pipeline for each subscription, not connected yet.

    Args:
        peer: where others reach this daemon.
        control: what pipelines ask of the control state.
        reloads: looks after the files that adapters use.

    Raises:
        ConfigError: a certificate, key or secret cannot be used.
    """
    bound_batches(config.kafka.batch_bytes_max)
    prefetched = PREFETCHES * config.kafka.fetch_bytes_max * len(config.subscriptions)
    budget = PendingBudget(config.limits.pending_bytes_max - prefetched)

    def adapter(subscription: Subscription, may_start: Callable[[], bool]) -> DeliveryAdapter:
        return watched(_adapter(config, subscription, peer, may_start, reloads))

    return [_pipeline(config, each, options, budget, peer, control, adapter) for each in config.subscriptions]


def _pipeline(
    config: Config,
    subscription: Subscription,
    options: Options,
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
        KafkaDeadLetters(subscription, options),
        budget,
        control,
        replaying=replaying(config, subscription, options, control),
    )


def _adapter(
    config: Config, subscription: Subscription, peer: Peer, may_start: Callable[[], bool], reloads: Reloads
) -> DeliveryAdapter:
    """Return the adapter of the protocol that the configuration names."""
    delivery = subscription.delivery
    match delivery:
        case RestDelivery():
            return rest_adapter(reloads, config, subscription, may_start).user
        case StreamDelivery():
            from mpsd.delivery.stream.adapter import StreamAdapter  # noqa: PLC0415 - gRPC takes long to load, and others do without

            return StreamAdapter(subscription.name, delivery, config.stream, peer.network, may_start=may_start)
        case PullDelivery():
            return PullAdapter(subscription.name, delivery, peer, may_start)
        case _:
            assert_never(delivery)


def rest_adapter(
    reloads: Reloads, config: Config, subscription: Subscription, may_start: Callable[[], bool]
) -> WatchedPart[RestDelivery, RestAdapter | BatchAdapter]:
    """Return an adapter whose secrets and certificates follow their files."""
    stops = subscription.ordering.after_dead_letter == "block"

    def make(watched: WatchedPart[RestDelivery, RestAdapter | BatchAdapter]) -> RestAdapter | BatchAdapter:
        delivery, around = watched.part, Surroundings(may_start=may_start, look_again=watched.look_soon)
        if delivery.batch.records_max == 1:
            return RestAdapter(subscription.name, delivery, around)
        return BatchAdapter(subscription.name, delivery, around, dead_letter_stops_key=stops)

    def renew(adapter: RestAdapter | BatchAdapter, fresh: RestDelivery) -> None:
        if Endpoint.of(fresh.url).origin != origin:
            message = "the URL leads to another host by now, which needs a restart"
            raise ConfigError([Problem(path="url", message=message, subscription=subscription.name)])
        adapter.renew(fresh)

    watched = watch_delivery(reloads, config, subscription, make, renew)
    origin = Endpoint.of(watched.part.url).origin
    return watched


def settings_from(kind: type[Made], *tables: Table, **others: object) -> Made:
    """Return settings whose fields have the values of the keys of their name, and `others`, which have priority.

    Args:
        kind: a dataclass.
    """
    wanted = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    given = {name: getattr(table, name) for table in tables for name in wanted & type(table).model_fields.keys()}
    given.update(others)
    assert given.keys() == wanted, f"{kind.__name__} and its tables differ in {given.keys() ^ wanted}"
    return kind(**given)


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
        ordering=ordering,
        records_max=subscription.pending.records_max,
        bytes_max=subscription.pending.bytes_max,
        rules=settings_from(
            PolicyRules,
            retry,
            retry=settings_from(RetryRules, retry),
            breaker=settings_from(
                BreakerRules, breaker, rejection_lanes_min=1 if ordering.by == "partition" else breaker.lanes_min
            ),
            concurrency_max=delivery.concurrency_max * (batch.records_max if batch is not None else 1),
        ),
        dead_lettering=settings_from(RetryRules, subscription.dead_letter, attempts_max=1, record_age_max_s=0.0),
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
    return settings_from(GroupSettings, config.kafka, subscription, subscription=subscription.name, peer=peer)


def control_plane(config: Config, options: Options, instance: str) -> ControlPlane:
    """Return the control state of all subscriptions, not connected yet.

    Args:
        instance: what others call this daemon.
    """
    control = config.control
    groups = {subscription.group for subscription in config.subscriptions}
    if not control.topic:
        return ControlPlane(None, None, groups, instance)
    log = KafkaControlLog(control, options)
    audit = KafkaAudit(control, options) if control.audit_topic else None
    return ControlPlane(log, audit, groups, instance)


def replaying(config: Config, subscription: Subscription, options: Options, control: Control) -> Replaying | None:
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
