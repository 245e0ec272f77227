"""What a configuration says, read leniently: for checks that look at several keys at once."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from pydantic_core import PydanticUndefined

from mpsd.config.problems import Path, dotted, subscription_name
from mpsd.config.root import Config
from mpsd.config.subscription import dead_letter_topic
from mpsd.config.words import field_at
from mpsd.errors import Problem


class Written:
    """The values that are written, and the defaults of those that are not."""

    def __init__(self, tree: Mapping[str, object], bad: AbstractSet[Path]) -> None:
        self.tree = tree
        self.bad = bad

    def value(self, *path: str | int) -> object:
        """The value at a path; None where it is absent and has no default, or is known to be bad."""
        if any(path[: len(bad)] == bad for bad in self.bad):
            return None
        found: object = self.tree
        for step in path:
            match found, step:
                case dict(), str() if step in found:
                    found = found[step]
                case ((list() | tuple()), int()) if step < len(found):
                    found = found[step]
                case _:
                    return self._default(path)
        return found

    def _default(self, path: Path) -> object:
        field = field_at(Config, path)
        return None if field is None or field.default is PydanticUndefined else field.default

    def number(self, *path: str | int) -> float | None:
        value = self.value(*path)
        return value if isinstance(value, int | float) else None

    def text(self, *path: str | int) -> str:
        value = self.value(*path)
        return value if isinstance(value, str) else ""

    def items(self, *path: str | int) -> list[object]:
        value = self.value(*path)
        return list(value) if isinstance(value, list | tuple) else []

    def has(self, *path: str | int) -> bool:
        return self.value(*path) not in (None, "")

    def subscriptions(self) -> range:
        return range(len(self.items("subscriptions")))

    def topics(self, index: int) -> list[tuple[Path, str]]:
        """Source topics of a subscription and where each is written."""
        path = ("subscriptions", index, "topics")
        topics = [((*path, i), self.text(*path, i)) for i in range(len(self.items(*path)))]
        return [(where, topic) for where, topic in topics if topic]

    def dead_letter_topic(self, index: int) -> str:
        own = self.text("subscriptions", index, "dead_letter", "topic")
        return own or dead_letter_topic(
            self.text("subscriptions", index, "name"), self.text("subscriptions", index, "topics", 0)
        )

    def problem(self, path: Path, message: str, hint: str = "") -> Problem:
        return Problem(path=dotted(path), message=message, hint=hint, subscription=subscription_name(self.tree, path))
