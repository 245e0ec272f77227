"""`mpsd demo`: a real Kafka, the daemon and an application, trouble on purpose, and checks at the end.

Theory of operation: `stage` starts the processes and ends them however it is left; should this process be killed, the
guard of `mpsd.demo.broker` ends them. `run` tells the story and collects what is seen, `checks` judges it by the
guarantees, `display` and `summary` show it.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path

from mpsd.demo.checks import Findings, find
from mpsd.demo.display import Display, display_for
from mpsd.demo.run import Run
from mpsd.demo.stage import Stage, staged
from mpsd.demo.story import RECORDS_MIN, orders
from mpsd.demo.summary import as_json, write_summary
from mpsd.errors import MpsError

_SLOWEST_PER_S = 250
_PATIENCE_S = 60.0
"""A run may take this long, and as long again as a slow machine needs for its records."""
_CHECK_INTERVAL_S = 0.5
_KILLED_EXIT_CODE = 130


class DemoArgumentError(MpsError):
    """The demo was asked for something that it cannot show."""

    code = "demo.argument"


def run_demo(*, records: int = 20_000, keys: int = 500, keep: bool = False, json_output: bool = False) -> int:
    """Show, check, and say what was seen; progress goes to standard error if JSON is to go to standard output.

    Must be called in the main thread. SIGINT and SIGTERM end it and all that it started; a second one ends it at once.

    Args:
        keep: leave everything running until a signal comes.

    Returns:
        The exit code: 0 if every promise was kept, 1 if not, 130 if it was interrupted.

    Raises:
        MpsError: something did not start, or ended by itself.
    """
    if records < RECORDS_MIN or keys < 1:
        raise DemoArgumentError(f"the demo needs at least {RECORDS_MIN} records and 1 key, not {records} and {keys}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of a client's troubles is raised
    display = display_for(sys.stderr if json_output else sys.stdout)
    try:
        return asyncio.run(_Demo(records, keys, keep, json_output, display).until_signalled())
    finally:
        display.close()


class _Demo:
    def __init__(self, records: int, keys: int, keep: bool, json_output: bool, display: Display) -> None:
        self._records = records
        self._keys = keys
        self._keep = keep
        self._json_output = json_output
        self._display = display
        self._exit_code = _KILLED_EXIT_CODE

    async def until_signalled(self) -> int:
        main = asyncio.current_task()
        assert main
        loop = asyncio.get_running_loop()

        def end() -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
                signal.signal(number, lambda *_: os._exit(_KILLED_EXIT_CODE))  # the guards end what still runs
            main.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end)
        try:
            await self._show()
        except asyncio.CancelledError:
            self._display.say("stopped; everything that was started has ended")
        return self._exit_code

    async def _show(self) -> None:
        began_s = time.monotonic()
        async with staged(self._display.say) as stage:
            deadline_s = time.monotonic() + _PATIENCE_S + self._records / _SLOWEST_PER_S
            run = Run(stage, orders(self._records, self._keys), self._display, deadline_s)
            findings = find(await run.run(stop=not self._keep))
            self._display.close()
            self._tell(findings, time.monotonic() - began_s)
            self._exit_code = 0 if findings.hold else 1
            if self._keep:
                self._display.say(_to_try(stage))
                await asyncio.Event().wait()

    def _tell(self, findings: Findings, whole_s: float) -> None:
        if self._json_output:
            print(as_json(findings, whole_s), flush=True)
        else:
            write_summary(findings, whole_s, sys.stdout)


def _to_try(stage: Stage) -> str:
    python = os.path.relpath(sys.executable) if sys.executable.startswith(f"{Path.cwd()}{os.sep}") else sys.executable
    kafka = stage.bootstrap_servers
    return f"""
Everything goes on until Ctrl-C. To try in another terminal:
  what the daemon says of itself
    curl -s {stage.daemon_url}/metrics | grep ^mps
  5,000 orders more
    {python} -m mpsd.demo.produce {kafka} {stage.topic} 5000
  the application goes away for ten seconds; records wait and spend no attempts
    curl -X POST '{stage.outage_url}?seconds=10'
  every delivery, as the application sees it
    tail -f {stage.event_log}
  a second daemon shares the partitions; stop it with Ctrl-C
    MPS_HTTP_LISTEN=127.0.0.1:0 {python} -m mpsd --config {stage.config}
  the first one stops cleanly; what it has committed stays
    kill {stage.daemon.pid}
  the demo once more on the same Kafka
    KAFKA_BOOTSTRAP_SERVERS={kafka} {python} -m mpsd demo
"""
