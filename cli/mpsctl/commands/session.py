"""The session of a command: its connection options, and the one place that turns failures into exit codes."""

import copy
import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from mpsctl.errors import CommandError, Exit, usage

if TYPE_CHECKING:
    from mpsctl.client import Client
    from mpsctl.render.screen import Screen
    from mpsctl.views.fleet import Changed, Instance

P = ParamSpec("P")
R = TypeVar("R")


def contexts(incomplete: str) -> list[str]:
    """Return the contexts that begin with the text; none if the configuration file cannot be read."""
    with suppress(CommandError):
        from mpsctl.settings import context_names

        return [name for name in context_names() if name.startswith(incomplete)]
    return []


CONNECTION: dict[str, Any] = {
    "address": Annotated[
        str | None, typer.Option("--address", "-a", metavar="HOST:PORT", help="Address of any daemon of the fleet.")
    ],
    "context": Annotated[
        str | None,
        typer.Option(
            "--context", "-c", metavar="NAME", help="Context of the configuration file.", autocompletion=contexts
        ),
    ],
    "token_file": Annotated[str | None, typer.Option(metavar="FILE", help="File with your access token.")],
    "tls": Annotated[bool, typer.Option("--tls", help="Use TLS, and trust the system's authorities.")],
    "ca": Annotated[
        str | None, typer.Option("--ca", metavar="FILE", help="Use TLS, and trust the authorities in FILE.")
    ],
    "cert": Annotated[str | None, typer.Option("--cert", metavar="FILE", help="Client certificate, in PEM.")],
    "cert_key": Annotated[
        str | None, typer.Option("--cert-key", metavar="FILE", help="Private key of --cert, in PEM.")
    ],
    "insecure": Annotated[bool, typer.Option("--insecure", help="Allow to send the token without TLS.")],
    "timeout": Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time limit of a call, 0.1s to 1h; by default 15s, or 30s for changes and doctor.",
        ),
    ],
}
"""The connection options. Each command takes them too, without listing them in its help."""
JSON = Annotated[bool, typer.Option("--json", help="Print JSON; docs/reference/mpsctl-json.md describes it.")]
REASON_DEFAULT = "no reason given"


@dataclass(slots=True)
class Session:
    """One run of one command.

    Attributes:
        flags: the connection options, by key of the configuration file.
    """

    screen: "Screen"
    flags: dict[str, str | bool | None]
    _client: "Client | None" = field(default=None, init=False)

    @property
    def client(self) -> "Client":
        """Return the client, made at the first use, because a wrong argument is an error without a daemon."""
        if self._client is None:
            from mpsctl.client import Client
            from mpsctl.settings import load

            self._client = Client(load(self.flags))
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask for confirmation, unless `--yes` was given.

        Raises:
            CommandError: standard input is no terminal, or the answer was no.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise usage(f"{question} There is no terminal to ask", "add --yes to confirm")
        try:
            agreed = typer.confirm(question, default=False, err=True)
        except typer.Abort:
            raise CommandError("nothing was changed", code="declined") from None
        if not agreed:
            raise CommandError("nothing was changed", code="declined")


def command(
    app: typer.Typer, name: str
) -> Callable[[Callable[Concatenate[Session, P], Exit | None]], Callable[Concatenate[Session, P], Exit | None]]:
    """Make a command of a function that takes a session and returns an exit code, or None for 0.

    The command also gets the connection options and `--json`. A parameter whose type is a dataclass stands for one
    option for each field: options that several commands share.
    """

    def register(
        function: Callable[Concatenate[Session, P], Exit | None],
    ) -> Callable[Concatenate[Session, P], Exit | None]:
        own = list(inspect.signature(function).parameters.values())[1:]
        several: dict[str, Any] = {each.name: each.annotation for each in own if is_dataclass(each.annotation)}

        @functools.wraps(function)
        def run(invocation: typer.Context, **given: Any) -> None:
            outer = invocation.find_root().params
            flags = {each: given.pop(each) or outer.get(each) for each in CONNECTION}
            flags["key"] = flags.pop("cert_key")
            for bundle, kind in several.items():
                given[bundle] = kind(**{each.name: given.pop(each.name) for each in fields(kind)})
            code = _run(function, flags, given, as_json=given.pop("as_json"))
            if code is not Exit.DONE:
                raise typer.Exit(code)

        invocation = inspect.Parameter("invocation", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        as_json = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, annotation=JSON, default=False)
        taken = [
            option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for each in own
            for option in (_options(several[each.name]) if each.name in several else [each])
        ]
        signed(run, [invocation, *taken, *connection_parameters(hidden=True), as_json])
        app.command(name)(helped(run))
        return function

    return register


def helped(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the docstring into help, with a backspace in place of the two characters that a raw docstring has."""
    function.__doc__ = inspect.cleandoc(function.__doc__ or "").replace("\\b\n", "\b\n")
    return function


def _options(kind: Any) -> list[inspect.Parameter]:
    """Return the fields of a dataclass as parameters."""
    return [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, annotation=each.type, default=each.default)
        for each in fields(kind)
    ]


def _run(function: Any, flags: dict[str, str | bool | None], given: dict[str, Any], *, as_json: bool) -> Exit:
    from mpsctl.render.screen import Screen

    session = Session(Screen(as_json=as_json), flags)
    try:
        return function(session, **given) or Exit.DONE
    except CommandError as failure:
        _complain(failure, as_json=as_json)
        return failure.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    finally:
        session.close()


def _complain(failure: CommandError, *, as_json: bool) -> None:
    """Print an error on standard error: for people, or one object for programs."""
    if as_json:
        import json

        error = {"code": failure.code, "message": failure.message, "hint": failure.hint, "exit_code": failure.exit_code}
        typer.echo(json.dumps({"error": error}, ensure_ascii=False), err=True)
        return
    from mpsctl.render.formats import printable

    typer.echo(f"mpsctl: {printable(failure.message)}", err=True)
    if failure.hint:
        typer.echo(f"        {printable(failure.hint)}", err=True)


def connection_parameters(*, hidden: bool = False) -> list[inspect.Parameter]:
    """Return the connection options as parameters of a function.

    Args:
        hidden: leave them out of the help.
    """
    parameters = []
    for name, option in CONNECTION.items():
        kind: Any = option.__origin__
        info = copy.copy(option.__metadata__[0])
        info.hidden = hidden
        default = False if kind is bool else None
        annotation = Annotated[kind, info]
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        )
    return parameters


def signed(function: Callable[..., None], parameters: "Sequence[inspect.Parameter]") -> Callable[..., None]:
    """Return the function with parameters that typer turns into options."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    return function


def answered(instances: "Sequence[Instance]") -> Exit:
    """Return `Exit.PARTLY` if an instance did not answer."""
    return Exit.DONE if all(each.answered for each in instances) else Exit.PARTLY


def confirmed(changed: "Changed") -> Exit:
    """Return `Exit.PARTLY` if not all instances have applied the change."""
    return Exit.DONE if changed.confirmed else Exit.PARTLY
