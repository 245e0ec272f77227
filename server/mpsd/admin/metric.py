"""Metrics as rows of a table, and the functions that read their values from statistics.

Nothing is counted here: values are read from statistics when somebody asks. Labels name what the configuration, the
cluster or the code name, never what a record holds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from mpsd.admin.daemon import ControlStatistics, WatchedFiles
from mpsd.core.histogram import Histogram
from mpsd.pipeline.statistics import PartitionStatistics, SubscriptionStatistics

LABEL_VALUES_MAX = 100
"""Codes of one kind per subscription; what comes beyond is counted as `other`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The statistics that metrics are read from."""

    subscriptions: Sequence[SubscriptionStatistics]
    log_lines_suppressed: int
    control: ControlStatistics
    config_hash: str = ""
    watched_files: Sequence[WatchedFiles] = ()


Sample = tuple[tuple[str, ...], float | Histogram]
"""Values of the labels, and of the metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric: one row of the table.

    Attributes:
        unit: the last word of the name, before `_total`, where it is one.
        read: the samples, one per set of label values.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    unit: Literal["", "bytes", "records", "seconds"] = ""
    read: Callable[[Snapshot], Iterable[Sample]]


Read = Callable[[Snapshot], Iterable[Sample]]
Labelled = Iterable[tuple[tuple[str, ...], float]]


def per_subscription(read: Callable[[SubscriptionStatistics], float | Histogram]) -> Read:
    return lambda snapshot: [((one.name,), read(one)) for one in snapshot.subscriptions]


def per_subscription_known(read: Callable[[SubscriptionStatistics], float]) -> Read:
    """Read a value that is -1, and left out, while it is not known."""
    return per_subscription_labelled(lambda one: [((), read(one))] if read(one) >= 0 else [])


def per_subscription_labelled(read: Callable[[SubscriptionStatistics], Labelled]) -> Read:
    return lambda snapshot: [((one.name, *rest), value) for one in snapshot.subscriptions for rest, value in read(one)]


def per_partition_labelled(read: Callable[[PartitionStatistics], Labelled]) -> Read:
    return per_subscription_labelled(
        lambda one: [
            ((part.topic, str(part.partition), *rest), value) for part in one.partitions for rest, value in read(part)
        ]
    )


def per_partition(read: Callable[[PartitionStatistics], float]) -> Read:
    return per_partition_labelled(lambda part: [((), read(part))])


def per_partition_known(read: Callable[[PartitionStatistics], float]) -> Read:
    """Read a value that is -1, and left out, while it is not known."""
    return per_partition_labelled(lambda part: [((), read(part))] if read(part) >= 0 else [])


def one_of(states: Sequence[str], state: str) -> Labelled:
    return [((each,), float(each == state)) for each in dict.fromkeys((*states, state))]


def counted(counts: Mapping[str, int], known: Iterable[str] = ()) -> Labelled:
    """Count each label; the first codes that came keep their names, so that no counter ever falls.

    Args:
        known: labels that are there from the start, at 0: what counts an increase sees the first one then.
    """
    counts = {**{str(each): 0 for each in known}, **counts}
    yield from (((code,), count) for code, count in islice(counts.items(), LABEL_VALUES_MAX))
    if len(counts) > LABEL_VALUES_MAX:
        yield ("other",), sum(islice(counts.values(), LABEL_VALUES_MAX, None))


def stages(one: SubscriptionStatistics) -> Labelled:
    numbers = (((stage, name), value) for stage, held in one.stages.items() for name, value in held.items())
    return islice(numbers, LABEL_VALUES_MAX)
