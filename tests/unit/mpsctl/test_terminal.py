"""Output on a terminal of 80 columns: a real one, of the kernel."""

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from threading import Event
from typing import Any

import pytest
from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from tests.unit.mpsctl import fleet
from tests.unit.mpsctl.conftest import Daemon, serve

PATIENCE_S = 20.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ALTERNATE, BACK = "\x1b[?1049h", "\x1b[?1049l"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")


class Terminal:
    """mpsctl with all its streams at a pseudo-terminal."""

    def __init__(self, address: str, *words: str, **environ: str) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("MPSCTL_", "NO_COLOR", "COLUMNS"))
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mpsctl", "-a", address, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**kept, "TERM": "xterm-256color", "XDG_CONFIG_HOME": "/nonexistent", **environ},
            start_new_session=True,
        )
        os.close(slave)
        self.said = ""

    @override
    def __repr__(self) -> str:
        return f"<Terminal {self.process.args!r}>"

    @property
    def text(self) -> str:
        return ESCAPES.sub("", self.said).replace("\r", "")

    def until(self, there: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not there():
            assert time.monotonic() < deadline_s, self.said
            if not self._read():
                assert there(), f"it ended: {self.said}"
                return

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def ended(self) -> int:
        """Return the exit code, once all was read."""
        while self._read():
            pass
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 0.2)
        if not ready:
            return self.process.poll() is None
        try:
            self.said += os.read(self._master, 65_536).decode("utf-8", "replace")
        except OSError:  # Linux says so when nobody has the other end
            return False
        return True


@pytest.fixture
def terminal(daemon: Daemon) -> Iterator[Callable[..., Terminal]]:
    daemon.answers = dict(fleet.ANSWERS)
    opened: list[Terminal] = []

    def open_(*words: str, **environ: str) -> Terminal:
        opened.append(Terminal(daemon.address, *words, **environ))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


@pytest.mark.parametrize(
    "words",
    [
        "status --partitions",
        "inspect billing",
        "dlq ls billing",
        "dlq ls billing --each",
        "doctor",
        "audit",
        "replay ls",
    ],
)
def test_every_page_fits_80_columns_and_has_colour(words: str, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(*words.split())
    shown.ended()
    assert "\x1b[" in shown.said
    assert max(len(line) for line in shown.text.splitlines()) <= 80


def test_colour_can_be_refused(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("status", NO_COLOR="1")
    assert shown.ended() == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown.said)


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ("dlq ls billing", "SummarizeDeadLetters"),
        ("dlq ls billing --each", "ListDeadLetters"),
        ("dlq show billing orders/3@1842", "GetDeadLetter"),
        ("replay-dlq billing --dry-run", "PreviewReplay"),
    ],
)
def test_who_waits_for_dead_letters_to_be_read_is_told(
    words: str, method: str, daemon: Daemon, terminal: Callable[..., Terminal]
) -> None:
    told, answer = Event(), daemon.answers[method]

    def answering(*_: Any) -> Any:
        assert told.wait(PATIENCE_S)
        return answer

    daemon.answers[method] = answering
    shown = terminal(*words.split())
    shown.until(lambda: "reading the dead letters" in shown.text)
    told.set()
    assert shown.ended() == 0
    assert shown.said.rindex(SHOW) > shown.said.rindex(HIDE)


@pytest.mark.parametrize(("answer", "code", "changed"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
def test_a_reset_shows_what_it_would_do_and_asks(
    answer: str, code: int, changed: int, daemon: Daemon, terminal: Callable[..., Terminal]
) -> None:
    shown = terminal("reset", "billing", "--to", "earliest")
    shown.until(lambda: "[y/N]" in shown.text)
    assert "At most 42 records delivered again, 10 records never delivered." in shown.text
    shown.type(answer)
    assert shown.ended() == code
    assert len([request for request in daemon.requests("Reset") if not request.dry_run]) == changed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_live_view_leaves_the_terminal_as_it_was(
    number: signal.Signals, daemon: Daemon, terminal: Callable[..., Terminal]
) -> None:
    def stream(_: Any, context: Any) -> Iterator[pb.WatchStatusResponse]:
        while context.is_active():
            yield pb.WatchStatusResponse(status=fleet.status())
            time.sleep(0.1)

    daemon.answers["WatchStatus"] = stream
    shown = terminal("status", "--watch")
    shown.until(lambda: "endpoint-out" in shown.text and "live" in shown.text and "rate ██  lag ██" in shown.text)
    assert ALTERNATE in shown.said
    shown.process.send_signal(number)
    assert shown.ended() == 0
    assert shown.said.rindex(BACK) > shown.said.rindex(ALTERNATE)
    assert shown.said.rindex(SHOW) > shown.said.rindex(HIDE)
    assert "Traceback" not in shown.text


def test_the_live_view_outlives_the_daemon(terminal: Callable[..., Terminal]) -> None:
    def stream(_: Any, context: Any) -> Iterator[pb.WatchStatusResponse]:
        yield pb.WatchStatusResponse(status=fleet.status())
        while context.is_active():
            time.sleep(0.05)

    first = Daemon()
    first.answers["WatchStatus"] = stream
    server = serve(first)
    shown = Terminal(first.address, "status", "--watch")
    try:
        shown.until(lambda: "live" in shown.text)
        server.stop(0).wait()
        shown.until(lambda: "reconnecting" in shown.text)
        second = Daemon()
        second.answers["WatchStatus"] = stream
        again = serve(second, first.address)
        before = len(shown.said)
        shown.until(lambda: "live" in ESCAPES.sub("", shown.said[before:]))
        shown.process.send_signal(signal.SIGINT)
        assert shown.ended() == 0
        again.stop(0).wait()
    finally:
        shown.close()


def test_waiting_for_a_replay_shows_a_bar(daemon: Daemon, terminal: Callable[..., Terminal]) -> None:
    states = iter([fleet.replay(sent=30), fleet.replay(pb.REPLAY_STATE_DONE, 40)])
    daemon.answers["GetReplay"] = lambda *_: pb.GetReplayResponse(replay=next(states))
    shown = terminal("replay", "show", "01JD6Z", "--wait")
    assert shown.ended() == 0
    assert "30 settled" in shown.text
    assert "40 matched, 40 sent, 39 succeeded, 1 failed again" in shown.text
