"""`status --watch`: the whole screen of a terminal, or one status after the other in a pipe."""

import queue
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from mpsctl.commands.session import Session
from mpsctl.errors import CommandError, Exit
from mpsctl.render.formats import clock, span, utc_now
from mpsctl.render.page import Page, Piece, Style
from mpsctl.render.status import status_page
from mpsctl.render.trend import Trends
from mpsctl.views.status import Status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mps.admin.v1 import admin_pb2 as pb

RECONNECT_S = 1.0
"""Pause before the next try to connect; short, because a daemon restarts within seconds."""
REFRESH_S = 0.25
"""Pause between two updates of the clock on the screen."""
STALE_INTERVALS = 3.0
"""Number of intervals without a status after which the screen shows the silence."""

News = Status | CommandError


def watch_status(session: Session, request: "pb.WatchStatusRequest") -> Exit:
    """Show the status until Ctrl-C or SIGTERM, which end the command with 0."""
    with _ended_by_signals():
        try:
            if session.screen.live:
                return _on_a_terminal(session, request)
            return _in_a_pipe(session, request)
        except KeyboardInterrupt:
            return Exit.DONE


def _in_a_pipe(session: Session, request: "pb.WatchStatusRequest") -> Exit:
    """Print one status after the other; a lost daemon ends the command unless the daemon comes back."""
    shown = ""
    with closing(_news(session, request, threading.Event())) as news:
        for each in news:
            if isinstance(each, Status):
                shown = ""
                session.screen.show_again(each, lambda each=each: status_page(each, partitions=request.partitions))  # type: ignore[misc]
            elif each.exit_code is not Exit.UNREACHABLE:
                raise each
            elif each.message != shown:
                shown = each.message
                session.screen.remark(f"mpsctl: {each.message}; reconnecting")
    return Exit.DONE


def _on_a_terminal(session: Session, request: "pb.WatchStatusRequest") -> Exit:
    """Show the status on the terminal's alternate screen, which disappears at the end."""
    from rich.live import Live

    from mpsctl.render.screen import console

    to, arrived, ended = console(), queue.SimpleQueue[News](), threading.Event()
    reader = threading.Thread(target=_read, args=(session, request, arrived, ended), daemon=True)
    shown = _Shown(session.client.address, request.partitions, request.interval.ToMilliseconds() / 1000)
    try:
        with Live(shown.rendered(to.size.height, to.width), console=to, screen=True, auto_refresh=False) as live:
            reader.start()
            while True:
                with suppress(queue.Empty):
                    shown.add(arrived.get(timeout=REFRESH_S))
                if shown.refused is not None:
                    break
                to.width = max(40, to.size.width)
                live.update(shown.rendered(to.size.height, to.width), refresh=True)
    finally:
        ended.set()
    raise shown.refused


def _read(
    session: Session, request: "pb.WatchStatusRequest", arrived: "queue.SimpleQueue[News]", ended: threading.Event
) -> None:
    for each in _news(session, request, ended):
        arrived.put(each)


def _news(session: Session, request: "pb.WatchStatusRequest", ended: threading.Event) -> Generator[News]:
    """Yield each status, or the reason why none arrives. End after an error that a new connection cannot repair."""
    while not ended.is_set():
        try:
            for status in session.client.watch(request):
                if ended.is_set():
                    return
                yield Status.of(status)
            lost = CommandError("the daemon ended the stream", exit_code=Exit.UNREACHABLE, code="unreachable")
        except CommandError as failure:
            lost = failure
        except ValueError:  # the channel was closed because the command ends
            return
        yield lost
        if lost.exit_code is not Exit.UNREACHABLE:
            return
        ended.wait(RECONNECT_S)


class _Shown:
    """The content of the screen: the last status, and the state of the connection."""

    def __init__(self, address: str, partitions: bool, interval_s: float) -> None:
        self._address = address
        self._partitions = partitions
        self._interval_s = interval_s
        self._status: Status | None = None
        self._lost: CommandError | None = None
        self._trends = Trends()
        self._received_s = time.monotonic()
        self.refused: CommandError | None = None

    def add(self, news: News) -> None:
        if isinstance(news, Status):
            self._status, self._lost, self._received_s = news, None, time.monotonic()
            self._trends.add(news)
        elif news.exit_code is Exit.UNREACHABLE:
            self._lost = news
        else:
            self.refused = news

    def page(self) -> Page:
        silent_s = time.monotonic() - self._received_s
        page = Page().say(
            Piece("mpsctl status", Style.STRONG),
            Piece(f"  {self._address}  {clock(utc_now(), utc_now())}  ", Style.DIM),
            *self._connection(silent_s),
        )
        page.gap()
        if self._status is None:
            return page
        body = status_page(self._status, partitions=self._partitions, trends=self._trends)
        return page.join(body)

    def _connection(self, silent_s: float) -> list[Piece]:
        old = "" if self._status is None else f", the screen is {span(silent_s)} old"
        if self._lost is not None:
            return [Piece(f"reconnecting{old}: {self._lost.message}", Style.BAD)]
        if self._status is None:
            return [Piece("connecting", Style.WARN)]
        if silent_s > STALE_INTERVALS * self._interval_s + 1.0:
            return [Piece(f"no news for {span(silent_s)}", Style.WARN)]
        return [Piece("live", Style.GOOD), Piece("  Ctrl-C ends it", Style.DIM)]

    def rendered(self, height: int, width: int) -> "RenderableType":
        """Return as many lines as the screen has; the last line counts the missing ones."""
        from rich.text import Text

        from mpsctl.render.screen import styled

        lines = self.page().lines(width)
        if len(lines) > height:
            missing = len(lines) - height + 1
            lines = [*lines[: height - 1], [Piece(f"… {missing} more lines; name a subscription", Style.DIM)]]
        return Text("\n", no_wrap=True, end="").join(styled(line) for line in lines)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Handle SIGTERM and SIGHUP as Ctrl-C, so that the terminal is restored before the process ends."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
