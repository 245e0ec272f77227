"""Calls of the admin service: what a handler knows of the call, and what all handlers have."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from grpc import aio

from mps.admin.v1 import admin_pb2 as pb
from mps.admin.v1 import admin_pb2_grpc as pb_grpc
from mpsd.admin.daemon import AdminSettings, Steerable
from mpsd.admin.fleet import MARGIN, Ask, Fleet
from mpsd.admin.refusals import PermissionDenied
from mpsd.admin.validation import pipeline_of
from mpsd.listeners.rights import Caller, Role

Answer = TypeVar("Answer")
Context = aio.ServicerContext[Any, Any]
Metadata = Sequence[tuple[str, str]]


CALLER_KEY = "mps-caller-bin"
"""Metadata of a call that another instance makes for its caller, who has no token to pass on: what to call them both."""


class Call(NamedTuple):
    """A call that is being answered.

    Attributes:
        credentials: the caller's, for calls to other instances.
        left_s: returns how many seconds the caller will wait; None: for ever.
    """

    caller: Caller
    credentials: Metadata = ()
    left_s: Callable[[], float | None] = lambda: None

    def within_s(self, bound_s: float) -> float:
        """Return the bound in seconds, or the time that the caller leaves for the work if that is shorter."""
        left_s = self.left_s()
        return bound_s if left_s is None else max(0.0, min(bound_s, left_s * (1 - MARGIN)))


CALL: ContextVar[Call] = ContextVar("call")
"""The call that is being answered; set for every method of the admin service."""


def allow(caller: Caller, needed: Role, what: str) -> None:
    """Raise PermissionDenied if the caller's role is too small."""
    if caller.role < needed:
        has, needs = caller.role.name.lower(), needed.name.lower()
        raise PermissionDenied(f"{what} needs the role {needs}; {caller.name} has {has}")


class Calls(pb_grpc.AdminServicer):
    """The state that the handlers of all methods share.

    A handler raises `MpsError`, which `Access` turns into a status.
    """

    def __init__(self, daemon: Steerable, fleet: Fleet, settings: AdminSettings) -> None:
        self._daemon = daemon
        self._fleet = fleet
        self._settings = settings

    async def _others(
        self, scope: pb.Scope.ValueType, subscription: str, ask: Ask[Answer], patience_s: float | None = None
    ) -> tuple[list[Answer], Sequence[pb.Instance]]:
        """Return what the other instances say, if they are to be asked; see `Fleet.ask`."""
        if scope == pb.SCOPE_INSTANCE:
            return [], ()
        group = pipeline_of(self._daemon.pipelines, subscription).settings.sender.group if subscription else ""
        call = CALL.get()
        answers = await self._fleet.ask(
            self._fleet.others(group), ask, call.credentials, call.left_s(), patience_s=patience_s
        )
        return [said for _, said in answers.given], answers.silent

    def _check_values(self, what: str) -> None:
        allow(CALL.get().caller, Role.ADMIN, what)
        if not self._settings.values:
            raise PermissionDenied("values of records are not shown here: [admin] values = false")
