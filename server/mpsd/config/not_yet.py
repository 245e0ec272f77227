"""What has a key and is not in this version: refused, as it must not look as if it were in force."""

from collections.abc import Iterator

from mpsd.config.written import Written
from mpsd.errors import Problem


def held_keys(written: Written) -> Iterator[Problem]:
    """`ordering.after_dead_letter` is `continue`: keys are not held behind a dead letter in this version."""
    for index in written.subscriptions():
        path = ("subscriptions", index, "ordering", "after_dead_letter")
        if written.text(*path) == "hold":
            yield written.problem(
                path, "hold is not in this version", 'write "continue", and replay the dead letters of a key'
            )
