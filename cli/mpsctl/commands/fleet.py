"""`audit`, `doctor`, `version`, `completion`: the changes, the problems and the versions of a fleet."""

import platform
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mpsctl.commands.app import app
from mpsctl.commands.arguments import AnySub, Limit, Since
from mpsctl.commands.session import Session, answered, command, helped
from mpsctl.errors import Exit

if TYPE_CHECKING:
    from mpsctl.views.history import DaemonVersion

DIAGNOSE_S = 30.0
"""Time limit of a check-up, in which each endpoint and broker has a time-out of its own."""
VERSION_S = 2.0
"""Time limit of the question for a version."""


class Shell(StrEnum):
    """Shells that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


SCRIPTS = {
    Shell.BASH: """\
_mpsctl_completion() {
    local IFS=$'\\n'
    COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _MPSCTL_COMPLETE=complete_bash "$1" ) )
}
complete -o default -F _mpsctl_completion mpsctl""",
    Shell.ZSH: """\
#compdef mpsctl
_mpsctl_completion() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _MPSCTL_COMPLETE=complete_zsh mpsctl)
}
compdef _mpsctl_completion mpsctl""",
    Shell.FISH: """\
complete --command mpsctl --no-files --arguments "(env _MPSCTL_COMPLETE=complete_fish \
_TYPER_COMPLETE_FISH_ACTION=get-args _TYPER_COMPLETE_ARGS=(commandline -cp) mpsctl)" --condition \
"env _MPSCTL_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=is-args _TYPER_COMPLETE_ARGS=(commandline -cp) mpsctl\"""",
}


@command(app, "audit")
def audit(session: Session, subscription: AnySub = "", since: Since = None, limit: Limit = 50) -> None:
    r"""List the changes that operators made, the newest first.

    \b
    Examples:
      mpsctl audit
      mpsctl audit billing --since 2d
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.history import history_page
    from mpsctl.views.history import Entry, History

    request = pb.ListAuditRequest(subscription=subscription)
    if since is not None:
        request.since.FromDatetime(since)
    pages = session.client.collect(session.client.admin.ListAudit, request, "entries", limit)
    view = History(entries=tuple(map(Entry.of, pages.entries)), more=pages.more)
    session.screen.show(view, lambda: history_page(view))


@command(app, "doctor")
def doctor(session: Session) -> Exit:
    r"""Find problems, and what to do about them.

    Every daemon checks configuration, brokers, topics, permissions and endpoints; a problem that several daemons find
    is listed once. Ends with 1 if something does not work, else with 3 if a daemon does not answer.

    \b
    Example:
      mpsctl doctor
    """
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.render.history import check_up_page
    from mpsctl.views.fleet import Instance
    from mpsctl.views.history import CheckUp

    client = session.client
    timeout_s = None if session.flags.get("timeout") else DIAGNOSE_S
    answer = client.ask(client.admin.Diagnose, pb.DiagnoseRequest(), timeout_s)
    broken = any(finding.severity == pb.SEVERITY_ERROR for finding in answer.findings)
    all_answer = answered(tuple(map(Instance.of, answer.instances)))
    view = CheckUp.of(answer, ok=not broken and all_answer is Exit.DONE)
    session.screen.show(view, lambda: check_up_page(view))
    return Exit.FAILED if broken else all_answer


@command(app, "version")
def show_version(
    session: Session,
    client_only: Annotated[bool, typer.Option("--client", help="Show the version of mpsctl only.")] = False,
) -> Exit:
    r"""Show the versions of mpsctl and of the daemon.

    Ends with 4 if no daemon answers; the version of mpsctl is still printed.

    \b
    Examples:
      mpsctl version
      mpsctl version --client --json
    """
    from mpsctl import __version__
    from mpsctl.errors import CommandError
    from mpsctl.render.history import versions_page
    from mpsctl.views.history import Versions

    daemon, failure = None, None
    if not client_only:
        try:
            daemon = _daemon_version(session)
        except CommandError as error:
            failure = error
    view = Versions(mpsctl=__version__, python=platform.python_version(), daemon=daemon)
    session.screen.show(view, lambda: versions_page(view))
    if failure is not None:
        raise failure
    return Exit.DONE


def _daemon_version(session: Session) -> "DaemonVersion":
    from mps.admin.v1 import admin_pb2 as pb
    from mpsctl.views.history import DaemonVersion

    timeout_s = None if session.flags.get("timeout") else VERSION_S
    answer = session.client.ask(session.client.admin.GetVersion, pb.GetVersionRequest(), timeout_s)
    return DaemonVersion.of(answer, python=answer.python_version)


@app.command("completion")
@helped
def completion(shell: Annotated[Shell, typer.Argument(help="Name of your shell.")]) -> None:
    r"""Print a completion script for your shell.

    The shell then completes commands, options and the names of subscriptions.

    \b
    Examples:
      mpsctl completion bash >> ~/.bash_completion
      mpsctl completion zsh > ~/.zfunc/_mpsctl
      mpsctl completion fish > ~/.config/fish/completions/mpsctl.fish
    """
    typer.echo(SCRIPTS[shell])
