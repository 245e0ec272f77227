"""The progress of a long run, and its remaining time; a plugin of pytest that `make test` turns on.

`tests/durations.json` has the seconds that each slow file took on two cores. They are what the run is expected to take, and the
longest files begin first, so that no process is alone with one at the end. `--measure` writes them from the run.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

DURATIONS = Path(__file__).with_name("durations.json")
FILE_S_MIN = 1.0
"""A faster file is not worth a line of the table."""
REST_S = 0.02
"""A test of a file that is not in the table."""
LINE_EVERY_S = 30.0
STARTUP_S = 20.0
"""Before that the run says nothing of its own speed: brokers start, and the first tests are no sample."""


class Expected:
    """The expected time of each file of a run.

    Args:
        tests: how many the run has of each file.
        durations: the table.
        workers: processes that share the tests.
    """

    def __init__(self, tests: Mapping[str, int], durations: Mapping[str, float], workers: int) -> None:
        self._each_s = {file: durations.get(file, count * REST_S) / count for file, count in tests.items()}
        self.all_s = sum(self._each_s[file] * count for file, count in tests.items()) / workers
        self._workers = workers
        self._done_s = 0.0

    def ended(self, file: str) -> None:
        """Count a test of the file."""
        self._done_s += self._each_s.get(file, REST_S) / self._workers

    def left_s(self, elapsed_s: float) -> float:
        """Return how long the rest will take, by the speed of the run so far."""
        share = min(1.0, self._done_s / self.all_s) if self.all_s else 1.0
        pace = elapsed_s / self._done_s if elapsed_s > STARTUP_S and self._done_s else 1.0
        return self.all_s * (1.0 - share) * pace


def longest_first(files: Sequence[str], durations: Mapping[str, float]) -> dict[str, int]:
    """Return the place of each file in the run; those that are not in the table come last, in their order."""
    known = dict.fromkeys(files)
    return {file: place for place, file in enumerate(sorted(known, key=lambda file: -durations.get(file, 0.0)))}


def spoken(seconds: float) -> str:
    """Return a duration in words."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes else "half a minute"


class LongestFirst:
    """The order of the files, in each process of the run."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        places = longest_first([_file(item.nodeid) for item in items], durations())
        items.sort(key=lambda item: places[_file(item.nodeid)])


class Progress:
    """Lines in place of dots, by the process that the others report to."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._took_s: defaultdict[str, float] = defaultdict(float)
        self._expected: Expected | None = None
        self._began_s = self._line_s = time.monotonic()
        self._count = self._ended = self._failed = 0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:
            self._begin([item.nodeid for item in session.items], 1)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        if self._expected is None:
            self._begin(ids, self._config.getoption("numprocesses") or 1)

    def _begin(self, ids: Sequence[str], workers: int) -> None:
        self._count = len(ids)
        self._expected = Expected(Counter(map(_file, ids)), durations(), workers)
        self._began_s = self._line_s = time.monotonic()
        self._say(f"{self._count:,} tests: about {spoken(self._expected.all_s)} on two cores with nothing else to do")

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Print no dead letter for what is as it should be."""
        is_expected = report.outcome != "failed" and not hasattr(report, "wasxfail")
        if is_expected and (report.when == "call" or report.skipped):
            return report.outcome, "", ""
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._took_s[_file(report.nodeid)] += report.duration
        if report.failed:
            self._failed += 1
            self._say(f"failed: {report.nodeid}")
        if report.when == "teardown" and self._expected is not None:
            self._ended += 1
            self._expected.ended(_file(report.nodeid))
            now_s = time.monotonic()
            if now_s - self._line_s >= LINE_EVERY_S:
                self._line_s = now_s
                left = spoken(self._expected.left_s(now_s - self._began_s))
                failed = f"{self._failed} failed" if self._failed else "none failed"
                spent = spoken(now_s - self._began_s)
                self._say(f"{spent}: {self._ended:,} of {self._count:,} tests, {failed}; about {left} left")

    def pytest_sessionfinish(self) -> None:
        if self._config.getoption("measure"):
            slow = {file: round(took_s, 1) for file, took_s in sorted(self._took_s.items()) if took_s >= FILE_S_MIN}
            DURATIONS.write_text(json.dumps(slow, indent=1) + "\n")

    def _say(self, line: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if isinstance(reporter, pytest.TerminalReporter):
            reporter.ensure_newline()
            reporter.write_line(line)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measure", action="store_true", help="write what each slow file took to tests/durations.json")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LongestFirst())
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config))


def durations() -> dict[str, float]:
    """Return the table."""
    table: dict[str, float] = json.loads(DURATIONS.read_text())
    return table


def _file(node_id: str) -> str:
    return node_id.partition("::")[0]
