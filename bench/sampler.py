"""Runs the daemon and notes where it spends its time: `python -m bench.sampler FILE --config mps.toml`.

A profiler that traces every call makes short functions look long. This one samples: a timer of CPU time interrupts the
daemon, and the handler stores the present line of Python. The interpreter calls handlers only between two lines of Python,
so that time in C counts for the line that called it. If uvloop itself was waiting, reading or about to call back, the
handler runs at the first instruction of the callback, which counts as time of the loop.

At the end it writes one JSON object: the number of samples at each position, the CPU time, and the number of all samples.
Imports count only for the latter. (The timer is rarely as frequent as requested.)
"""

import json
import runpy
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import NamedTuple

INTERVAL_S = 0.001
LOOP = "event loop"


class CodePosition(NamedTuple):
    """The position of a sample in the code; `line` is 0 for the loop's own time."""

    file: str
    function: str
    line: int


class Sampler:
    """The counts of positions. A process can have one sampler."""

    def __init__(self) -> None:
        self.positions: Counter[CodePosition] = Counter()
        self._samples = 0

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _look(self, number: int, frame: FrameType | None) -> None:
        self._samples += 1
        if frame is None or _is_importing(frame):
            return
        code = frame.f_code
        if frame.f_lineno == code.co_firstlineno and _is_called_back(frame):
            self.positions[CodePosition(LOOP, f"before {Path(code.co_filename).stem}.{code.co_qualname}", 0)] += 1
        else:
            self.positions[CodePosition(code.co_filename, code.co_qualname, frame.f_lineno)] += 1

    def written(self) -> str:
        counts = [[*position, count] for position, count in self.positions.items()]
        return json.dumps({"cpu_s": time.process_time(), "samples": self._samples, "counts": counts})


def _is_importing(frame: FrameType) -> bool:
    """Return True if the frame belongs to an import, which is no part of the path of a record."""
    at: FrameType | None = frame
    while at is not None:
        if at.f_code.co_filename.startswith("<frozen importlib"):
            return True
        at = at.f_back
    return False


def _is_called_back(frame: FrameType) -> bool:
    """Return True if the event loop called the frame, and no other function of Python did."""
    return frame.f_back is None or frame.f_back.f_code.co_filename.endswith("asyncio/runners.py")


if __name__ == "__main__":
    output = Path(sys.argv.pop(1))
    sys.argv[0] = "mpsd"
    sampler = Sampler()
    sampler.start()
    try:
        runpy.run_module("mpsd", run_name="__main__")
    finally:
        sampler.stop()
        output.write_text(sampler.written())
