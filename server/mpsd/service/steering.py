"""Steering of pipelines by the control state: each pipeline gets its changes in the step in which they are applied."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from mpsd.core.blocked_keys import BLOCKED
from mpsd.core.brake import BRAKE
from mpsd.core.control import Entity, EntityKey, Kind, OfSubscription
from mpsd.core.limits import LIMIT
from mpsd.core.pauses import PAUSE
from mpsd.core.replay_book import KINDS
from mpsd.core.resets import RESET
from mpsd.pipeline.control.controls import Control
from mpsd.pipeline.pipeline import Pipeline
from mpsd.service.control import ControlPlane

V = TypeVar("V")


def asked_of(plane: ControlPlane) -> Control:
    """Return the control state as pipelines use it."""
    return Control(
        read_to_end=plane.must_read_to_end,
        waiting_for=plane.waiting_for,
        record=plane.record,
        is_on=plane.is_on,
        revision=lambda: plane.revision,
    )


def steer(plane: ControlPlane, pipelines: Iterable[Pipeline]) -> None:
    """Tell each pipeline of the pauses, limits, brake, resets, blocked keys and replays of its subscription from now on."""
    for pipeline in pipelines:
        controls = pipeline.controls
        plane.listen(PAUSE.name, partial(_on_pause, plane, pipeline))
        plane.listen(LIMIT.name, partial(_on_one, pipeline, LIMIT, controls.set_limit))
        plane.listen(BRAKE.name, partial(_on_one, pipeline, BRAKE, pipeline.set_brake))
        plane.listen(RESET.name, partial(_on_one, pipeline, RESET, controls.set_reset))
        plane.listen(BLOCKED.name, partial(_on_block, plane, pipeline))
        plane.recreated_listeners.append(pipeline.blocked.on_recreated)
        for kind in KINDS:
            plane.listen(kind.name, partial(_on_replay, pipeline))


def _on_pause(plane: ControlPlane, pipeline: Pipeline, key: EntityKey, _: Entity | None) -> None:
    """Pass on all pauses of the subscription, because they are few and change seldom."""
    settings = pipeline.settings
    group = settings.sender.group
    if key[0] == group and key[2:3] == (settings.name,):
        found = plane.state.values(PAUSE, group)
        pipeline.controls.set_pauses([pause for scope, pause in found.items() if scope.subscription == settings.name])


def _on_one(
    pipeline: Pipeline,
    kind: Kind[OfSubscription, V],
    tell: Callable[[V | None], None],
    key: EntityKey,
    entity: Entity | None,
) -> None:
    """Tell a pipeline of the one entity of a kind that its subscription has."""
    settings = pipeline.settings
    if key == kind.entity_key(settings.sender.group, OfSubscription(settings.name)):
        tell(kind.parse(key, entity) if entity is not None else None)


def _on_block(plane: ControlPlane, pipeline: Pipeline, key: EntityKey, entity: Entity | None) -> None:
    pipeline.blocked.on_entity(key, entity, plane.revision)


def _on_replay(pipeline: Pipeline, key: EntityKey, entity: Entity | None) -> None:
    replays = pipeline.replays
    if replays is not None and replays.book.on_entity(key, entity):
        replays.wake()
