"""What no key can be wrong about alone: duplicates and contradictions between keys.

The checks look at what was written, not at the validated models, so that they also speak up when something else is
wrong; a key that has a problem of its own is left out.
"""

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from pydantic_core import PydanticUndefined

from mpsd.config.problems import Path, dotted, subscription_name
from mpsd.config.root import Config
from mpsd.config.subscription import dead_letter_topic
from mpsd.config.values import split_address
from mpsd.config.words import field_at, shown
from mpsd.errors import Problem

LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")
HEARTBEATS_PER_SESSION_MIN = 3
"""Source: the description of Kafka's `heartbeat.interval.ms`: no higher than a third of the session time-out."""
HEARTBEATS_PER_REBALANCE_MIN = 2
"""A member learns of a rebalance from an answer to a heartbeat, then has to join in what is left."""
FETCHES_PER_SUBSCRIPTION_MIN = 2
"""One fetch is read while the next one is on its way."""
LISTENERS = ("admin", "http", "stream")


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


def contradictions(tree: Mapping[str, object], bad: AbstractSet[Path]) -> Iterator[Problem]:
    """Every contradiction between keys.

    Args:
        bad: paths of keys that have problems of their own.
    """
    written = Written(tree, bad)
    yield from _kafka(written)
    yield from _limits(written)
    for listener in LISTENERS:
        yield from _listener(written, listener)
    yield from _same_addresses(written)
    yield from _same_names(written)
    yield from _same_sources(written)
    yield from _dead_letter_topics(written)
    for index in written.subscriptions():
        yield from _times(written, index)
        yield from _endpoint(written, index)


def _kafka(written: Written) -> Iterator[Problem]:
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
    yield from _security(written)


def _security(written: Written) -> Iterator[Problem]:
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


def _listener(written: Written, name: str) -> Iterator[Problem]:
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
    seen: dict[str, str] = {}
    for name in LISTENERS:
        listen = written.text(name, "listen")
        if not listen or split_address(listen)[1] == 0:
            continue
        if listen in seen:
            yield written.problem((name, "listen"), f"{shown(listen)} is the address of {seen[listen]} too")
        seen.setdefault(listen, f"{name}.listen")


def _same_names(written: Written) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index in written.subscriptions():
        name = written.text("subscriptions", index, "name")
        if name and name in seen:
            yield written.problem(
                ("subscriptions", index, "name"), f"{shown(name)} is the name of subscriptions[{seen[name]}] too"
            )
        seen.setdefault(name, index)


def _same_sources(written: Written) -> Iterator[Problem]:
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


def _times(written: Written, index: int) -> Iterator[Problem]:
    at: Path = ("subscriptions", index)
    drain, timeout = written.number(*at, "rebalance", "drain_timeout_s"), written.number(*at, "delivery", "timeout_s")
    if drain and timeout and drain < timeout:
        yield written.problem(
            (*at, "rebalance", "drain_timeout_s"),
            f"{drain} is less than delivery.timeout_s, {timeout}",
            "a rebalance would cut off deliveries that still may succeed",
        )
    for table in ("retry", "dead_letter"):
        initial = written.number(*at, table, "backoff_initial_s")
        most = written.number(*at, table, "backoff_max_s")
        if initial and most and initial > most:
            yield written.problem(
                (*at, table, "backoff_initial_s"), f"{initial} is more than {table}.backoff_max_s, {most}"
            )


def _endpoint(written: Written, index: int) -> Iterator[Problem]:
    at: Path = ("subscriptions", index, "delivery")
    if written.has(*at, "tls"):
        yield from _pair(written, (*at, "tls"))
        if written.text(*at, "url").lower().startswith("http:"):
            yield written.problem((*at, "tls"), "has no effect on an http:// URL", "write https://")
    auth = written.value(*at, "auth")
    if isinstance(auth, dict):
        if len(auth.keys() & {"basic", "bearer"}) != 1:
            yield written.problem((*at, "auth"), "must hold one of basic and bearer")
        headers = written.value(*at, "headers")
        if isinstance(headers, dict) and "authorization" in {str(name).lower() for name in headers}:
            yield written.problem((*at, "auth"), "sets the header Authorization, which delivery.headers sets too")
