"""The admin service: the methods of all kinds, as one servicer."""

import platform

from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mpsd import __version__
from mpsd.admin.calls import Context
from mpsd.admin.changes import AuditCalls, ChangeCalls
from mpsd.admin.checkup import CheckupCalls
from mpsd.admin.dead_letters import DeadLetterCalls
from mpsd.admin.lanes import InspectCalls
from mpsd.admin.resets import ResetCalls
from mpsd.admin.skips import SkipCalls


class AdminServicer(InspectCalls, CheckupCalls, ChangeCalls, ResetCalls, SkipCalls, DeadLetterCalls, AuditCalls):
    """The service `mps.admin.v1.Admin`; the proto documents each method."""

    @override
    def end(self) -> None:
        """End the watches, and the skips that wait for a dead-letter topic."""
        super().end()
        self._cancel_skips()

    @override
    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        return pb.GetVersionResponse(
            version=__version__, python_version=platform.python_version(), address=self._daemon.peer.admin
        )
