"""The checks of several keys at once: duplicates and contradictions.

The checks look at what was written, not at the validated models, so that they also speak up when something else is
wrong; a key that has a problem of its own is left out.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from pydantic_core import PydanticUndefined

from mpsd.config.problems import Path, dotted, subscription_name
from mpsd.config.root import Config
from mpsd.config.shapes import field_at, shown
from mpsd.config.subscription import DELIVERY_BOUND, dead_letter_topic
from mpsd.config.values import split_address
from mpsd.errors import Problem

LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")
HEARTBEATS_PER_SESSION_MIN = 3
"""Source: the description of Kafka's `heartbeat.interval.ms`: no higher than a third of the session time-out."""
HEARTBEATS_PER_REBALANCE_MIN = 2
"""A member learns of a rebalance from an answer to a heartbeat, then has to join in what is left."""
FETCHES_PER_SUBSCRIPTION_MIN = 2
"""One fetch is read while the next one is on its way."""
LISTENERS = ("admin", "http", "stream")
BLOCKED_KEYS_MAX = 150_000
"""The bound on all subscriptions: three quarters of the entities that the control state remembers."""


class Written:
    """A configuration as it was written, read leniently, with the defaults of absent keys."""

    def __init__(self, tree: Mapping[str, object], bad: AbstractSet[Path]) -> None:
        self.tree = tree
        self.bad = bad

    def value(self, *path: str | int) -> object:
        """Return the value at a path; None if it is absent without a default, or known to be bad."""
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
        """Return the source topics of a subscription, each with its path."""
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


def contradictions(tree: Mapping[str, object], bad: AbstractSet[Path]) -> Iterator[Problem]:
    """Yield every contradiction between keys.

    Args:
        bad: paths of keys that have problems of their own.
    """
    written = Written(tree, bad)
    for check in CHECKS:
        yield from check(written)


def _heartbeats(written: Written) -> Iterator[Problem]:
    """`kafka.heartbeat_interval_ms` is at most a third of `session_timeout_ms` and half of `rebalance_timeout_ms`."""
    heartbeat = written.number("kafka", "heartbeat_interval_ms")
    session = written.number("kafka", "session_timeout_ms")
    rebalance = written.number("kafka", "rebalance_timeout_ms")
    path: Path = ("kafka", "heartbeat_interval_ms")
    if heartbeat and session and heartbeat * HEARTBEATS_PER_SESSION_MIN > session:
        yield written.problem(
            path,
            f"{heartbeat} is more than a third of kafka.session_timeout_ms, {session}",
            "a late heartbeat would cost the membership",
        )
    if heartbeat and rebalance and heartbeat * HEARTBEATS_PER_REBALANCE_MIN > rebalance:
        yield written.problem(
            path,
            f"{heartbeat} is more than half of kafka.rebalance_timeout_ms, {rebalance}",
            "members would learn of a rebalance too late to join it",
        )


def _security(written: Written) -> Iterator[Problem]:
    """`kafka.security`: sasl protocols take mechanism, username and password, ssl ones may take ca, cert and key."""
    at: Path = ("kafka", "security")
    protocol = written.text(*at, "protocol")
    if not protocol:
        return
    login, encryption = ("mechanism", "username", "password"), ("ca", "cert", "key")
    for key in login:
        path = (*at, key)
        if protocol.startswith("sasl") and not written.has(*path) and path not in written.bad:
            yield written.problem(path, f'is required by protocol "{protocol}"')
        if not protocol.startswith("sasl") and written.has(*path):
            yield written.problem(path, f'has no effect with protocol "{protocol}"', "use sasl-ssl or sasl-plaintext")
    for key in encryption:
        if not protocol.endswith("ssl") and written.has(*at, key):
            yield written.problem((*at, key), f'has no effect with protocol "{protocol}"', "use ssl or sasl-ssl")
    yield from _pair(written, at)


def _pair(written: Written, at: Path) -> Iterator[Problem]:
    for one, other in (("cert", "key"), ("key", "cert")):
        if written.has(*at, one) and not written.has(*at, other) and (*at, other) not in written.bad:
            yield written.problem((*at, other), f"is required beside {one}")


def _limits(written: Written) -> Iterator[Problem]:
    """`limits.pending_bytes_max` holds at least two fetches (`kafka.fetch_bytes_max`) of each subscription."""
    pending = written.number("limits", "pending_bytes_max")
    fetch = written.number("kafka", "fetch_bytes_max")
    count = len(written.subscriptions())
    if pending and fetch and pending < fetch * FETCHES_PER_SUBSCRIPTION_MIN * count:
        least = int(fetch) * FETCHES_PER_SUBSCRIPTION_MIN * count
        yield written.problem(
            ("limits", "pending_bytes_max"),
            f"{pending} is less than {FETCHES_PER_SUBSCRIPTION_MIN} times kafka.fetch_bytes_max, {fetch},"
            f" for each of {count} subscriptions",
            f"raise it to {least} or lower kafka.fetch_bytes_max",
        )


def _open_listeners(written: Written) -> Iterator[Problem]:
    """Every listener beyond loopback has `tls`, and `tokens_file` or `tls.client_ca`, or has `insecure = true`."""
    for name in LISTENERS:
        yield from _open_listener(written, name)


def _open_listener(written: Written, name: str) -> Iterator[Problem]:
    listen = written.text(name, "listen")
    if not listen or LOOPBACK.fullmatch(split_address(listen)[0]):
        return
    if written.value(name, "insecure") is not False or any(bad[:1] == (name,) for bad in written.bad):
        return
    encrypted = written.has(name, "tls")
    known = written.has(name, "tokens_file") or written.has(name, "tls", "client_ca")
    if not (encrypted and known):
        lacks = " and ".join(
            word for word, there in (("TLS", encrypted), ("tokens or client certificates", known)) if not there
        )
        yield written.problem(
            (name, "listen"),
            f"{shown(listen)} can be reached from outside, without {lacks}",
            f"set {name}.tls with {name}.tokens_file or {name}.tls.client_ca, or {name}.insecure = true",
        )


def _same_addresses(written: Written) -> Iterator[Problem]:
    """No two listeners have the same address."""
    seen: dict[str, str] = {}
    for name in LISTENERS:
        listen = written.text(name, "listen")
        if not listen or split_address(listen)[1] == 0:
            continue
        if listen in seen:
            yield written.problem((name, "listen"), f"{shown(listen)} is the address of {seen[listen]} too")
        seen.setdefault(listen, f"{name}.listen")


def _same_names(written: Written) -> Iterator[Problem]:
    """No two subscriptions have the same name."""
    seen: dict[str, int] = {}
    for index in written.subscriptions():
        name = written.text("subscriptions", index, "name")
        if name and name in seen:
            yield written.problem(
                ("subscriptions", index, "name"), f"{shown(name)} is the name of subscriptions[{seen[name]}] too"
            )
        seen.setdefault(name, index)


def _same_sources(written: Written) -> Iterator[Problem]:
    """Every group reads a topic in one subscription only, and no subscription reads `control.topic`."""
    seen: dict[tuple[str, str], Path] = {}
    control = written.text("control", "topic")
    for index in written.subscriptions():
        group = written.text("subscriptions", index, "group")
        for path, topic in written.topics(index):
            if topic == control:
                yield written.problem(path, f"{shown(topic)} is control.topic, which holds no records to deliver")
            if group and (group, topic) in seen:
                yield written.problem(
                    path,
                    f"group {shown(group)} reads {shown(topic)} already, at {dotted(seen[group, topic])}",
                    "a group gives each partition to one reader: use another group",
                )
            seen.setdefault((group, topic), path)


def _dead_letter_topics(written: Written) -> Iterator[Problem]:
    """Every dead-letter topic belongs to one subscription, and is neither a source of any nor `control.topic`."""
    sources = {topic: path for index in written.subscriptions() for path, topic in reversed(written.topics(index))}
    seen: dict[str, int] = {}
    for index in written.subscriptions():
        path = ("subscriptions", index, "dead_letter", "topic")
        topic = written.dead_letter_topic(index)
        if not topic:
            continue
        if topic in sources:
            yield written.problem(
                path, f"{shown(topic)} is a source topic, at {dotted(sources[topic])}", "dead letters would come back"
            )
        if topic == written.text("control", "topic"):
            yield written.problem(path, f"{shown(topic)} is control.topic, whose compaction would delete dead letters")
        if topic in seen:
            yield written.problem(
                path,
                f"{shown(topic)} is the dead-letter topic of subscriptions[{seen[topic]}] too",
                "each subscription needs its own",
            )
        seen.setdefault(topic, index)


def _drains(written: Written) -> Iterator[Problem]:
    """`rebalance.drain_timeout_s`, if set, is at least `delivery.timeout_s`, or `delivery.lease_s` of a stream or pull."""
    for index in written.subscriptions():
        bound = DELIVERY_BOUND.get(written.text("subscriptions", index, "delivery", "protocol"))
        if bound is None:
            continue
        path = ("subscriptions", index, "rebalance", "drain_timeout_s")
        drain, most = written.number(*path), written.number("subscriptions", index, "delivery", bound)
        table = written.value(*path[:-1])
        if isinstance(table, dict) and path[-1] in table and drain and most and drain < most:
            yield written.problem(
                path,
                f"{drain} is less than delivery.{bound}, {most}",
                "a rebalance would cut off deliveries that still may succeed; without the key it follows by itself",
            )


def _leases(written: Written) -> Iterator[Problem]:
    """`delivery.lease_s` is at most `delivery.lease_total_max_s`."""
    for index in written.subscriptions():
        at: Path = ("subscriptions", index, "delivery")
        if written.text(*at, "protocol") not in {"stream", "pull"}:
            continue
        lease, most = written.number(*at, "lease_s"), written.number(*at, "lease_total_max_s")
        if lease and most and lease > most:
            yield written.problem((*at, "lease_s"), f"{lease} is more than delivery.lease_total_max_s, {most}")


def _batches(written: Written) -> Iterator[Problem]:
    """`delivery.body` has no effect where `delivery.batch.records_max` is more than 1: a batch is CloudEvents."""
    for index in written.subscriptions():
        at: Path = ("subscriptions", index, "delivery")
        records = written.number(*at, "batch", "records_max")
        if records and records > 1 and written.text(*at, "body") == "cloudevents-binary":
            yield written.problem((*at, "body"), "has no effect on batches, which are CloudEvents in JSON")


def _places_to_fill(written: Written) -> Iterator[Problem]:
    """`delivery.url` has no `{topic}` or `{header:NAME}` where `delivery.batch.records_max` is more than 1."""
    for index in written.subscriptions():
        at: Path = ("subscriptions", index, "delivery")
        records = written.number(*at, "batch", "records_max")
        if records and records > 1 and "{" in written.text(*at, "url"):
            yield written.problem(
                (*at, "url"), "has places that each record fills, and a batch has several records", "send one at a time"
            )


def _own_topics(written: Written) -> Iterator[Problem]:
    """`control.audit_topic` is not `control.topic`, and no subscription reads it or has it as its dead-letter topic."""
    audit, path = written.text("control", "audit_topic"), ("control", "audit_topic")
    if not audit:
        return
    if audit == written.text("control", "topic"):
        yield written.problem(path, f"{shown(audit)} is control.topic too", "compaction would delete the history")
    for index in written.subscriptions():
        for at, topic in written.topics(index):
            if topic == audit:
                yield written.problem(at, f"{shown(topic)} is control.audit_topic, which holds no records to deliver")
        if written.dead_letter_topic(index) == audit:
            at = ("subscriptions", index, "dead_letter", "topic")
            yield written.problem(
                at, f"{shown(audit)} is control.audit_topic", "give dead letters a topic of their own"
            )


def _backoffs(written: Written) -> Iterator[Problem]:
    """`backoff_initial_s` is at most `backoff_max_s`, in `retry` and in `dead_letter`."""
    for index in written.subscriptions():
        for table in ("retry", "dead_letter"):
            path = ("subscriptions", index, table, "backoff_initial_s")
            initial, most = written.number(*path), written.number("subscriptions", index, table, "backoff_max_s")
            if initial and most and initial > most:
                yield written.problem(path, f"{initial} is more than {table}.backoff_max_s, {most}")


def _endpoints(written: Written) -> Iterator[Problem]:
    """`delivery.tls` needs an https:// URL, and a certificate needs its key."""
    for index in written.subscriptions():
        path = ("subscriptions", index, "delivery", "tls")
        if written.has(*path):
            yield from _pair(written, path)
            if written.text(*path[:-1], "url").lower().startswith("http:"):
                yield written.problem(path, "has no effect on an http:// URL", "write https://")


def _authentication(written: Written) -> Iterator[Problem]:
    """`delivery.auth` holds one of `basic` and `bearer`, and then `delivery.headers` has no Authorization."""
    for index in written.subscriptions():
        path = ("subscriptions", index, "delivery", "auth")
        auth, headers = written.value(*path), written.value(*path[:-1], "headers")
        if not isinstance(auth, dict):
            continue
        if len(auth.keys() & {"basic", "bearer"}) != 1:
            yield written.problem(path, "must hold one of basic and bearer")
        if isinstance(headers, dict) and "authorization" in {str(name).lower() for name in headers}:
            yield written.problem(path, "sets the header Authorization, which delivery.headers sets too")


def _blocked_keys(written: Written) -> Iterator[Problem]:
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
    if keys > BLOCKED_KEYS_MAX:
        at = (*blocking[-1], "blocked_keys_max")
        yield written.problem(
            at, f"all subscriptions may block {keys:.0f} keys, which is more than {BLOCKED_KEYS_MAX}", "lower it"
        )


CHECKS: Sequence[Callable[[Written], Iterator[Problem]]] = (
    _heartbeats,
    _security,
    _limits,
    _open_listeners,
    _same_addresses,
    _same_names,
    _same_sources,
    _dead_letter_topics,
    _drains,
    _leases,
    _batches,
    _places_to_fill,
    _own_topics,
    _backoffs,
    _endpoints,
    _authentication,
    _blocked_keys,
)
"""The checks; the reference page lists the docstring of each, which is its rule."""
