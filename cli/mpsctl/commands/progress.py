"""`--wait`: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mpsctl.commands.session import Session
from mpsctl.errors import CommandError, Exit
from mpsctl.render.replays import progress_text, replay_page
from mpsctl.render.words import count, rate, span
from mpsctl.views.replays import Replay

if TYPE_CHECKING:
    from mps.admin.v1 import admin_pb2 as pb

POLL_S = 1.0
LINE_S = 10.0
"""Between lines where nobody sees a bar."""
OVER = {"done", "cancelled", "failed"}
SILENT_MAX_S = 60.0
"""How long a daemon may not answer until it is given up; the replay goes on without a watcher."""


def wait_for(session: Session, started: "pb.Replay") -> Exit:
    """Wait until the replay is over. Ctrl-C ends the waiting, not the replay."""
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
    """Yield the state of the replay once a second; wait for a daemon that restarts."""
    from mps.admin.v1 import admin_pb2 as pb

    client, heard_s = session.client, time.monotonic()
    while True:
        view = Replay.of(replay)
        yield view
        if view.state in OVER:
            return
        time.sleep(POLL_S)
        try:
            replay = client.ask(client.admin.GetReplay, pb.GetReplayRequest(id=replay.id)).replay
            heard_s = time.monotonic()
        except CommandError as failure:
            if failure.exit_code is not Exit.UNREACHABLE or time.monotonic() - heard_s > SILENT_MAX_S:
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
    said_s = float("-inf")

    def show(view: Replay) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= LINE_S:
            said_s = time.monotonic()
            session.screen.remark(f"replay {view.id} {view.state}: {progress_text(view)}")

    return show
