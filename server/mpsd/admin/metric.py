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


UNITS = {"bytes", "records", "seconds"}
Type = Literal["counter", "gauge", "histogram"]
Sample = tuple[tuple[str, ...], float | Histogram]
"""Values of the labels, and of the metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric: one row of the table.

    Attributes:
        read: the samples, one per set of label values.
    """

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()
    read: Callable[[Snapshot], Iterable[Sample]]

    @property
    def unit(self) -> str:
        """Return the last word of the name, before `_total`, where it is a unit; else nothing."""
        word = self.name.removesuffix("_total").rpartition("_")[2]
        return word if word in UNITS else ""


Value = float | Histogram
Labelled = Iterable[tuple[tuple[str, ...], float]]


def per_subscription(
    name: str, kind: Type, text: str, read: Callable[[SubscriptionStatistics], Value | None]
) -> Metric:
    """Return a metric of each subscription; a value of None is left out."""
    return Metric(
        name=name, type=kind, help=text, labels=("subscription",),
        read=lambda snapshot: [((one.name,), value) for one in snapshot.subscriptions if (value := read(one)) is not None],
    )  # fmt: skip


def per_subscription_by(
    labels: tuple[str, ...], name: str, kind: Type, text: str, read: Callable[[SubscriptionStatistics], Labelled]
) -> Metric:
    """Return a metric of each subscription that has more labels."""
    return Metric(
        name=name, type=kind, help=text, labels=("subscription", *labels),
        read=lambda snapshot: [((one.name, *rest), value) for one in snapshot.subscriptions for rest, value in read(one)],
    )  # fmt: skip


def per_partition(name: str, kind: Type, text: str, read: Callable[[PartitionStatistics], float | None]) -> Metric:
    """Return a metric of each partition; a value of None is left out."""

    def labelled(part: PartitionStatistics) -> Labelled:
        return [((), value)] if (value := read(part)) is not None else []

    return per_partition_by((), name, kind, text, labelled)


def per_partition_by(
    labels: tuple[str, ...], name: str, kind: Type, text: str, read: Callable[[PartitionStatistics], Labelled]
) -> Metric:
    """Return a metric of each partition that has more labels."""

    def labelled(one: SubscriptionStatistics) -> Labelled:
        for part in one.partitions:
            yield from (((part.topic, str(part.partition), *rest), value) for rest, value in read(part))

    return per_subscription_by(("topic", "partition", *labels), name, kind, text, labelled)


def known(value: float) -> float | None:
    """Return the value, or None in place of -1, which stands for a value that is not known."""
    return value if value >= 0 else None


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
