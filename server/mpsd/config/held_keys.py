"""What holding keys behind dead letters needs."""

from collections.abc import Iterator

from mpsd.config.written import Written
from mpsd.errors import Problem

KEYS_MAX = 150_000
"""Of all subscriptions: three quarters of what the control state remembers, the rest is for all else."""


def held_keys(written: Written) -> Iterator[Problem]:
    """`ordering.after_dead_letter = "hold"` needs `ordering.by = "key"`, and a control topic for all that may be held."""
    holding = [
        ("subscriptions", index, "ordering")
        for index in written.subscriptions()
        if written.text("subscriptions", index, "ordering", "after_dead_letter") == "hold"
    ]
    for path in holding:
        at = (*path, "after_dead_letter")
        if written.text(*path, "by") in {"partition", "none"}:
            yield written.problem(
                at, 'holds keys, and ordering.by is not "key"', 'write ordering.by = "key", or "continue"'
            )
        if written.value("control", "topic") == "":
            yield written.problem(
                at, "keeps held keys in the control topic, and there is none", "name it: control.topic"
            )
    keys = sum(written.number(*path, "held_keys_max") or 0 for path in holding)
    if keys > KEYS_MAX:
        at = (*holding[-1], "held_keys_max")
        yield written.problem(
            at, f"all subscriptions may hold {keys:.0f} keys, which is more than {KEYS_MAX}", "lower it"
        )
