"""References to the environment in texts that are no secrets, and the placeholders of other programs."""

import re
from collections.abc import Iterator, Mapping

from mpsd.config.overrides import Tree, overridable, variable_name
from mpsd.config.problems import Path, dotted, subscription_name
from mpsd.config.root import Config
from mpsd.config.shapes import describe_at, shown
from mpsd.errors import Problem

PLACEHOLDER = re.compile(r"\$\{[^}]*\}")


def resolve(tree: Mapping[str, object], environ: Mapping[str, str]) -> tuple[Tree, dict[Path, Problem]]:
    """Replace each `{ env = "NAME" }` of a group or of topics by the value of the variable.

    A list of topics is written with commas in its variable, as in an override.

    Returns:
        The new tree, and what is wrong: a variable that is not set, and every `${…}`, which nothing here expands.
    """
    problems: dict[Path, Problem] = {}
    resolved = dict(tree)
    subscriptions = tree.get("subscriptions")
    if isinstance(subscriptions, list | tuple):
        resolved["subscriptions"] = [
            _subscription(each, ("subscriptions", index), tree, environ, problems) if isinstance(each, dict) else each
            for index, each in enumerate(subscriptions)
        ]
    for path, placeholder in _placeholders(tree, ()):
        problems[path] = _not_expanded(tree, path, placeholder)
    return resolved, problems


def _subscription(
    given: dict[str, object],
    path: Path,
    tree: Mapping[str, object],
    environ: Mapping[str, str],
    problems: dict[Path, Problem],
) -> dict[str, object]:
    def value(name: str, *at: str | int) -> str:
        found = environ.get(name, "")
        if not found:
            where = (*path, *at)
            state = "empty" if name in environ else "not set"
            message = f"the environment variable {name} is {state}"
            whose = subscription_name(tree, where)
            problems[where] = Problem(path=dotted(where), message=message, subscription=whose)
        return found

    resolved = dict(given)
    if (name := _variable(given.get("group"))) is not None:
        resolved["group"] = value(name, "group")
    dead_letter, topics = given.get("dead_letter"), given.get("topics")
    if isinstance(dead_letter, dict) and (name := _variable(dead_letter.get("topic"))) is not None:
        resolved["dead_letter"] = {**dead_letter, "topic": value(name, "dead_letter", "topic")}
    if (name := _variable(topics)) is not None:
        resolved["topics"] = [topic.strip() for topic in value(name, "topics").split(",")]
    elif isinstance(topics, list | tuple):
        resolved["topics"] = [
            each if (name := _variable(each)) is None else value(name, "topics", index)
            for index, each in enumerate(topics)
        ]
    return resolved


def _variable(given: object) -> str | None:
    """Return the name in `{ env = "NAME" }`; None for anything else."""
    match given:
        case {"env": str(name), **others} if not others:
            return name
        case _:
            return None


def _placeholders(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    match value:
        case str():
            yield from ((path, found[0]) for found in [PLACEHOLDER.search(value)] if found)
        case Mapping():
            for key, item in value.items():
                yield from _placeholders(item, (*path, str(key)))
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _placeholders(item, (*path, index))
        case _:
            pass


def _not_expanded(tree: Mapping[str, object], path: Path, placeholder: str) -> Problem:
    """Describe the correction; show only the placeholder of the text."""
    name = placeholder[2:-1].partition(":")[0] or "NAME"
    if "{ env = " in describe_at(Config, path):
        hint = f"write {{ env = {shown(name)} }} for the whole value"
    elif len(path) == 2 and path in overridable(Config):
        hint = f"leave the key out and set the environment variable {variable_name(path)}"
    else:
        hint = "write the value itself"
    message = f"holds {shown(placeholder)}, and nothing is expanded within a text"
    return Problem(path=dotted(path), message=message, hint=hint, subscription=subscription_name(tree, path))
