"""Checks of requests, which are untrusted input; an error names the field."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.refusals import InvalidArgument, NotFound, unknown
from mpsd.admin.wire import seconds
from mpsd.core.pauses import Scope
from mpsd.pipeline.pipeline import Pipeline

REASON_BYTES_MAX = 1_024
REQUEST_ID_CHARS_MAX = 64
KEY_BYTES_MAX = 65_536
LASTS_S_MIN, LASTS_S_MAX = 1.0, 30 * 86_400.0
INTERVAL_S, INTERVAL_S_MIN, INTERVAL_S_MAX = 1.0, 0.5, 60.0
RATE_MIN, RATE_MAX = 0.001, 1_000_000.0
CONCURRENCY_MAX = 65_536


def pipeline_of(pipelines: Collection[Pipeline], name: str, field: str = "subscription") -> Pipeline:
    """Return the pipeline of a subscription.

    Raises:
        InvalidArgument: none is named.
        NotFound: there is none of that name.
    """
    if not name:
        raise InvalidArgument(field, "must name a subscription")
    known: Mapping[str, Pipeline] = {pipeline.settings.name: pipeline for pipeline in pipelines}
    if name not in known:
        raise unknown("subscription", name, known.keys())
    return known[name]


def optional_subscription(pipelines: Collection[Pipeline], name: str) -> str:
    """Return the name if it is empty or the name of a subscription; else raise NotFound."""
    return pipeline_of(pipelines, name).settings.name if name else ""


def scope_of(selection: pb.Selection) -> Scope:
    """Return the scope of a selection; whether its subscription, topic and partition exist is checked elsewhere.

    Raises:
        InvalidArgument: it is incomplete, or too long.
    """
    topic = selection.topic if selection.HasField("topic") else None
    partition = selection.partition if selection.HasField("partition") else None
    key = selection.key if selection.HasField("key") else None
    if not selection.subscription:
        raise InvalidArgument("selection.subscription", "must name a subscription")
    if topic == "":
        raise InvalidArgument("selection.topic", "is empty; leave it out to mean all topics")
    if partition is not None and topic is None:
        raise InvalidArgument("selection.partition", "needs selection.topic: which partition of which topic?")
    if partition is not None and partition < 0:
        raise InvalidArgument("selection.partition", f"{partition} is negative")
    if key is not None and len(key) > KEY_BYTES_MAX:
        raise InvalidArgument("selection.key", f"has {len(key)} bytes, more than {KEY_BYTES_MAX}")
    return Scope(selection.subscription, topic, partition, key)


def check_change(change: pb.Change) -> None:
    """Check the request id, the reason and the revision of a change; raises InvalidArgument."""
    if not 1 <= len(change.request_id) <= REQUEST_ID_CHARS_MAX:
        said = f"has {len(change.request_id)} characters; 1 to {REQUEST_ID_CHARS_MAX} are needed, best a UUID"
        raise InvalidArgument("change.request_id", said)
    reason_bytes = len(change.reason.encode())
    if not change.reason.strip() or reason_bytes > REASON_BYTES_MAX:
        said = f"has {reason_bytes} bytes" if reason_bytes else "is empty"
        raise InvalidArgument("change.reason", f"{said}; say why in 1 to {REASON_BYTES_MAX} bytes")
    if change.HasField("expected_revision") and change.expected_revision < 0:
        raise InvalidArgument("change.expected_revision", f"{change.expected_revision} is negative")


def until_ms(request: pb.PauseRequest, now_ms: int) -> int | None:
    """Return the time at which a pause ends by itself; None if it does not.

    Raises:
        InvalidArgument: it lasts too long, or not at all.
    """
    if not request.HasField("lasts"):
        return None
    lasts_s = seconds(request.lasts)
    if not LASTS_S_MIN <= lasts_s <= LASTS_S_MAX:
        raise InvalidArgument("lasts", f"{lasts_s:g} s is not within 1 s and 30 d")
    return now_ms + request.lasts.ToMilliseconds()


def interval_s(request: pb.WatchStatusRequest) -> float:
    """Return the interval of a watch in seconds; raises InvalidArgument if it is out of range."""
    given_s = seconds(request.interval) if request.HasField("interval") else INTERVAL_S
    if not INTERVAL_S_MIN <= given_s <= INTERVAL_S_MAX:
        raise InvalidArgument("interval", f"{given_s:g} s is not within {INTERVAL_S_MIN:g} and {INTERVAL_S_MAX:g} s")
    return given_s


def limits_of(request: pb.LimitRequest) -> tuple[float | None, int | None]:
    """Return rate and concurrency; None: as configured.

    Raises:
        InvalidArgument: out of range.
    """
    rate = request.rate_max_per_s if request.HasField("rate_max_per_s") else None
    concurrency = request.concurrency_max if request.HasField("concurrency_max") else None
    if rate is not None and rate != 0 and not RATE_MIN <= rate <= RATE_MAX:
        raise InvalidArgument("rate_max_per_s", f"{rate:g} is not within {RATE_MIN:g} and {RATE_MAX:g}, nor 0 for none")
    if concurrency is not None and not 1 <= concurrency <= CONCURRENCY_MAX:
        raise InvalidArgument("concurrency_max", f"{concurrency} is not within 1 and {CONCURRENCY_MAX}")
    return rate, concurrency


def check_topic(scope: Scope, counts: Mapping[str, int]) -> None:
    """Raise NotFound if the subscription does not have the selected topic or partition.

    Args:
        counts: partitions of its topics; 0: not known, as of a topic that does not exist yet.

    Raises:
        NotFound: it has no such topic or partition.
    """
    if scope.topic is None:
        return
    if scope.topic not in counts:
        raise unknown(f"topic of {scope.subscription}", scope.topic, counts.keys())
    count = counts[scope.topic]
    if scope.partition is not None and 0 < count <= scope.partition:
        words = f"{scope.topic} has the partitions 0 to {count - 1}; there is no {scope.partition}"
        raise NotFound(words, "partition", f"{scope.topic}/{scope.partition}")


PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000
TOKEN_CHARS_MAX = 65_536
"""Offsets of some 3,000 partitions."""


def page_token(kind: str, *parts: int | str) -> str:
    """Return a page token; `kind` is the kind of list, so that a token of another list is refused."""
    return urlsafe_b64encode(json.dumps([kind, *parts], separators=(",", ":")).encode()).decode()


def parse_token(text: str, kind: str, types: Sequence[type]) -> list[int | str] | None:
    """Return the parts that `page_token` was given; None for the first page.

    Raises:
        InvalidArgument: it is none of ours.
    """
    if not text:
        return None
    try:
        found = json.loads(urlsafe_b64decode(text[:TOKEN_CHARS_MAX]))
    except (ValueError, RecursionError):
        found = None
    wanted = [str, *types]
    if not isinstance(found, list) or [type(part) for part in found] != wanted or found[0] != kind:
        raise InvalidArgument(
            "page_token", "is not one of this list; take it from the answer before, or leave it empty"
        )
    return found[1:]


def page_size(given: int) -> int:
    """Return the number of entries that a page may have.

    Raises:
        InvalidArgument: out of range.
    """
    if given > PAGE_SIZE_MAX:
        raise InvalidArgument("page_size", f"{given} is more than {PAGE_SIZE_MAX}")
    return given or PAGE_SIZE
