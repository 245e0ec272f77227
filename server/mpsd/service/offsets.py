"""`mpsd decode-offsets`: the commits of groups, decoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mpsd.config import Config, split_address
from mpsd.core.incarnation import UNKNOWN, Incarnation
from mpsd.core.offset_map import Ignored, OffsetMap, bound_of, decode
from mpsd.core.record import TopicPartition
from mpsd.errors import ConfigError, Problem
from mpsd.kafka.cluster import Cluster
from mpsd.kafka.connection import ClientOptions, Options
from mpsd.ports import CommitPoint

RUNS_SHOWN_MAX = 8
ANY_END = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A group's commit for one partition, decoded.

    Attributes:
        metadata_units: length of the text that came with it.
        topic_id: of the topic that the text says it is of, in hexadecimal digits; empty where it does not say.
        found: what the text says, or why it says nothing.
    """

    tp: TopicPartition
    next_offset: int
    metadata_units: int
    topic_id: str
    found: OffsetMap | Ignored


class Groups(NamedTuple):
    """Groups to look at, and the options of the client."""

    options: Options
    groups: Sequence[str]


def configured(config: Config, subscription: str) -> Groups:
    """Return the groups of a configuration.

    Args:
        subscription: empty for all of them.

    Raises:
        ConfigError: it has no such subscription.
    """
    groups = [each.group for each in config.subscriptions if subscription in {"", each.name}]
    if not groups:
        message = f"none is named {subscription}"
        raise ConfigError([Problem(path="subscriptions", message=message, hint="name one with --subscription")])
    return Groups(ClientOptions(config.kafka), list(dict.fromkeys(groups)))


def plain(bootstrap: str, group: str) -> Groups:
    """Return one group of a cluster without authentication.

    Args:
        bootstrap: HOST:PORT, more of them with commas between.

    Raises:
        ConfigError: it is no address.
    """
    servers = bootstrap.split(",")
    for server in servers:
        try:
            split_address(server)
        except ValueError as error:
            raise ConfigError([Problem(path="--bootstrap", message=f"{server} is not HOST:PORT")]) from error
    return Groups({"bootstrap_servers": servers, "client_id": "mpsd"}, [group])


async def committed(options: Options, group: str) -> list[Committed]:
    """Return all partitions that the group has committed something of.

    Raises:
        KafkaUnavailable, KafkaRefused: it could not be looked up.
    """
    async with Cluster(options) as cluster:
        points = await cluster.committed(group)
        known = await cluster.incarnations({tp.topic for tp in points})
        return [decoded(tp, point, known.get(tp.topic, UNKNOWN)) for tp, point in sorted(points.items())]


def decoded(tp: TopicPartition, point: CommitPoint, incarnation: Incarnation) -> Committed:
    """Return what a commit says of a partition, as a daemon would read it.

    Args:
        incarnation: the topic of that name now.
    """
    bound = bound_of(point.metadata)
    return Committed(
        tp=tp,
        next_offset=point.next_offset,
        metadata_units=len(point.metadata),
        topic_id=bound.topic_id.hex() if bound is not None else "",
        found=decode(point.metadata, tp, point.next_offset, 0, ANY_END, incarnation),
    )


def lines(group: str, partitions: Sequence[Committed]) -> Iterator[str]:
    """For people."""
    yield f"group {group}" + ("" if partitions else ": nothing is committed")
    for each in partitions:
        of_topic = f" (topic id {each.topic_id})" if each.topic_id else ""
        yield f"  {each.tp}{of_topic}: all below {each.next_offset} is finished"
        match each.found:
            case Ignored() as why:
                yield f"    the {each.metadata_units} characters beside it are no map to use ({why.value}): {why.words}"
            case OffsetMap(runs=runs, attempts=attempts):
                if runs:
                    count = sum(run.stop - run.start for run in runs)
                    yield f"    {count} beyond it too, in {len(runs)} run(s): {_shown([_run(*run) for run in runs])}"
                if attempts:
                    yield f"    attempts spent: {_shown([f'{spent} by {offset}' for offset, spent in attempts])}"


def as_json(group: str, partitions: Sequence[Committed]) -> dict[str, object]:
    """For programs: runs up to but not including their second offset."""
    return {"group": group, "partitions": [_partition(each) for each in partitions]}


def _partition(each: Committed) -> dict[str, object]:
    known = each.found if isinstance(each.found, OffsetMap) else OffsetMap((), ())
    return {
        "topic": each.tp.topic,
        "partition": each.tp.partition,
        "next_offset": each.next_offset,
        "metadata_units": each.metadata_units,
        "topic_id": each.topic_id or None,
        "ignored": each.found.value if isinstance(each.found, Ignored) else None,
        "finished": [list(run) for run in known.runs],
        "attempts": [list(spent) for spent in known.attempts],
    }


def _run(start: int, stop: int) -> str:
    return str(start) if stop == start + 1 else f"{start}-{stop - 1}"


def _shown(texts: Sequence[str]) -> str:
    more = len(texts) - RUNS_SHOWN_MAX
    return ", ".join(texts[:RUNS_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
