"""`--wait`: a progress bar on a terminal, else a line every ten seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mpsctl.commands.session import Session
from mpsctl.errors import CommandError, Exit
from mpsctl.render.formats import count, rate, span
from mpsctl.render.replays import progress_text, replay_page
from mpsctl.views.replays import Replay

if TYPE_CHECKING:
    from mps.admin.v1 import admin_pb2 as pb

POLL_S = 1.0
LINE_S = 10.0
"""Pause between lines, if there is no terminal for a bar."""
OVER = {"done", "cancelled", "failed"}
SILENT_MAX_S = 60.0
"""Longest time without an answer before the command gives up; the replay goes on."""


def wait_for(session: Session, started: "pb.Replay") -> Exit:
    """Wait until the replay ends. Ctrl-C ends the command, not the replay."""
    view = Replay.of(started)
    try:
        with _shown(session) as show:
            for view in _progress(session, started):
                show(view)
    except KeyboardInterrupt:
        session.screen.remark(f"mpsctl: replay {view.id} goes on; see it with: mpsctl replay show {view.id} --wait")
        return Exit.INTERRUPTED
    session.screen.show(view, lambda: replay_page(view))
    return Exit.DONE if view.state == "done" else Exit.FAILED


def _progress(session: Session, replay: "pb.Replay") -> Iterator[Replay]:
    """Yield the replay once a second, until it ends; wait for a daemon that restarts."""
    from mps.admin.v1 import admin_pb2 as pb

    client, answered_s = session.client, time.monotonic()
    while True:
        view = Replay.of(replay)
        yield view
        if view.state in OVER:
            return
        time.sleep(POLL_S)
        try:
            replay = client.ask(client.admin.GetReplay, pb.GetReplayRequest(id=replay.id)).replay
            answered_s = time.monotonic()
        except CommandError as failure:
            if failure.exit_code is not Exit.UNREACHABLE or time.monotonic() - answered_s > SILENT_MAX_S:
                raise


@contextmanager
def _shown(session: Session) -> Iterator[Callable[[Replay], None]]:
    from mpsctl.render.screen import console, is_terminal

    if not is_terminal(sys.stderr):
        yield _lines(session)
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console(error=True), transient=True) as progress:
        task = progress.add_task("replaying", total=None, note="")

        def show(view: Replay) -> None:
            settled = view.succeeded_records + view.failed_records
            total = view.matched_records + view.left_records if view.plan.records_max == 0 else view.plan.records_max
            note = f"{count(settled)} settled, {rate(view.sent_per_s)}"
            note += f", {span(view.left_s)} left" if view.left_s is not None else ""
            progress.update(task, description=view.state, total=max(total, settled, 1), completed=settled, note=note)

        yield show


def _lines(session: Session) -> Callable[[Replay], None]:
    shown_s = float("-inf")

    def show(view: Replay) -> None:
        nonlocal shown_s
        if time.monotonic() - shown_s >= LINE_S:
            shown_s = time.monotonic()
            session.screen.remark(f"replay {view.id} {view.state}: {progress_text(view)}")

    return show
