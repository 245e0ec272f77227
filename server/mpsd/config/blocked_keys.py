"""What blocking keys behind dead letters needs."""

from collections.abc import Iterator

from mpsd.config.written import Written
from mpsd.errors import Problem

KEYS_MAX = 150_000
"""Of all subscriptions: three quarters of what the control state remembers, the rest is for all else."""


def blocked_keys(written: Written) -> Iterator[Problem]:
    """`ordering.after_dead_letter = "block"` needs `ordering.by = "key"`, and a control topic for all that may be blocked."""
    blocking = [
        ("subscriptions", index, "ordering")
        for index in written.subscriptions()
        if written.text("subscriptions", index, "ordering", "after_dead_letter") == "block"
    ]
    for path in blocking:
        at = (*path, "after_dead_letter")
        if written.text(*path, "by") in {"partition", "none"}:
            yield written.problem(
                at, 'blocks keys, and ordering.by is not "key"', 'write ordering.by = "key", or "continue"'
            )
        if written.value("control", "topic") == "":
            yield written.problem(
                at, "keeps blocked keys in the control topic, and there is none", "name it: control.topic"
            )
    keys = sum(written.number(*path, "blocked_keys_max") or 0 for path in blocking)
    if keys > KEYS_MAX:
        at = (*blocking[-1], "blocked_keys_max")
        yield written.problem(
            at, f"all subscriptions may block {keys:.0f} keys, which is more than {KEYS_MAX}", "lower it"
        )
