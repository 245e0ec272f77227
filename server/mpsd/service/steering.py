"""Steering of pipelines by the control state: each pipeline gets its changes in the step in which they are applied."""

from collections.abc import Iterable
from functools import partial

from mpsd.core import blocked_keys, brake, limits, pauses, replay_book, resets
from mpsd.core.control import Entity, EntityKey
from mpsd.pipeline.control.controls import Control
from mpsd.pipeline.pipeline import Pipeline
from mpsd.service.control import ControlPlane


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
        plane.listen(pauses.KIND, partial(_on_pause, plane, pipeline))
        plane.listen(limits.KIND, partial(_on_limit, pipeline))
        plane.listen(brake.KIND, partial(_on_brake, pipeline))
        plane.listen(resets.KIND, partial(_on_reset, pipeline))
        plane.listen(blocked_keys.KIND, partial(_on_held, plane, pipeline))
        plane.recreated_listeners.append(pipeline.blocked.on_recreated)
        for kind in replay_book.KINDS:
            plane.listen(kind, partial(_on_replay, pipeline))


def _on_pause(plane: ControlPlane, pipeline: Pipeline, key: EntityKey, _: Entity | None) -> None:
    """Pass on all pauses of the subscription, because they are few and change seldom."""
    settings = pipeline.settings
    group = settings.sender.group
    if key[0] == group and key[2:3] == (settings.name,):
        entities = plane.state.of_kind(group, pauses.KIND)
        found = (pauses.parse(each, entity) for each, entity in entities.items())
        pipeline.controls.set_pauses([p for p in found if p is not None and p.scope.subscription == settings.name])


def _on_limit(pipeline: Pipeline, key: EntityKey, entity: Entity | None) -> None:
    settings = pipeline.settings
    if key == limits.entity_key(settings.sender.group, settings.name):
        pipeline.controls.set_limit(limits.parse(entity) if entity is not None else None)


def _on_brake(pipeline: Pipeline, key: EntityKey, entity: Entity | None) -> None:
    settings = pipeline.settings
    if key == brake.entity_key(settings.sender.group, settings.name):
        pipeline.set_brake(brake.parse(entity) if entity is not None else None)


def _on_reset(pipeline: Pipeline, key: EntityKey, entity: Entity | None) -> None:
    settings = pipeline.settings
    if key == resets.entity_key(settings.sender.group, settings.name):
        pipeline.controls.set_reset(resets.parse(entity) if entity is not None else None)


def _on_held(plane: ControlPlane, pipeline: Pipeline, key: EntityKey, entity: Entity | None) -> None:
    pipeline.blocked.on_entity(key, entity, plane.revision)


def _on_replay(pipeline: Pipeline, key: EntityKey, entity: Entity | None) -> None:
    replays = pipeline.replays
    if replays is not None and replays.book.on_entity(key, entity):
        replays.wake()
