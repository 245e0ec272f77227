"""Commands to the sink, and its counts."""

import json
from dataclasses import dataclass
from urllib.parse import urlencode

from mpsd.demo.asking import get


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The time at which the sink had received a number of records.

    Attributes:
        records: the number of records.
        at_s: the time on the monotonic clock, which all processes of a machine share.
        cpu_s: the CPU time of the watched process until then.
    """

    records: int
    at_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The counts of the sink.

    Attributes:
        records: number of records that arrived.
        marks: the marks that were reached, ascending: the first record, the end of the warm-up, the last record.
        latencies_s: the latencies of timed values.
        sink_cpu_s: CPU time of the sink.
    """

    records: int
    marks: list[Mark]
    latencies_s: list[float]
    sink_cpu_s: float


class SinkClient:
    """A client of the sink at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def begin(self, **orders: object) -> None:
        """Reset the counts, and begin to watch a process; see the commands in `bench.sink`."""
        await self._ask(f"/begin?{urlencode(orders)}")

    async def seen(self) -> Seen:
        figures = json.loads(await self._ask("/seen"))
        marks = [Mark(records=int(n), at_s=at_s, cpu_s=cpu_s) for n, (at_s, cpu_s) in figures["passed"].items()]
        return Seen(
            records=figures["seen"],
            marks=sorted(marks, key=lambda mark: mark.records),
            latencies_s=figures["latencies_s"],
            sink_cpu_s=figures["sink_cpu_s"],
        )

    async def _ask(self, target: str) -> str:
        answer = await get(self.url + target)
        if answer is None:
            raise OSError(f"the sink at {self.url} does not answer")
        return answer
