"""The status of the fleet: what all daemons answer, and what Kafka knows of the partitions that none of them lists."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.calls import CALL, Calls, Context, Metadata
from mpsd.admin.daemon import AdminSettings, Steerable
from mpsd.admin.fleet import Fleet, merge_status
from mpsd.admin.missing import Missing, MissingPartitions, add_missing, count_states, heard_of
from mpsd.admin.rates import Rates, counts
from mpsd.admin.refusals import TooManyWatchers
from mpsd.admin.status import status_of
from mpsd.admin.validation import interval_s, optional_subscription

WATCHERS_MAX = 100
"""Each asks the fleet again and again."""


class StatusCalls(Calls):
    """The methods that show the status.

    Holds at most: `WATCHERS_MAX` watches.
    """

    def __init__(self, daemon: Steerable, fleet: Fleet, settings: AdminSettings) -> None:
        super().__init__(daemon, fleet, settings)
        self.rates = Rates(lambda: counts(daemon.pipelines), daemon.clock.monotonic_s)
        self._missing = MissingPartitions(daemon)
        self._ended = asyncio.Event()
        self._watchers = 0

    def end(self) -> None:
        """End the watches."""
        self._ended.set()

    @override
    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        name = optional_subscription(self._daemon.pipelines, request.subscription)

        async def ask(stub: Any, timeout_s: float, metadata: Metadata) -> pb.Status:
            alone = pb.GetStatusRequest(scope=pb.SCOPE_INSTANCE, subscription=name, partitions=True)
            answer: pb.GetStatusResponse = await stub.GetStatus(alone, timeout=timeout_s, metadata=metadata)
            return answer.status

        given, silent = await self._others(request.scope, name, ask)
        answers = [status_of(self._daemon, self.rates, name, partitions=True), *given]
        missing: Missing = {}
        if request.scope != pb.SCOPE_INSTANCE:
            pipelines = [each for each in self._daemon.pipelines if name in {"", each.settings.name}]
            missing = await self._missing.look_up(pipelines, heard_of(answers), silent, CALL.get())
        instances = [*(instance for answer in answers for instance in answer.instances), *silent]
        status = merge_status(answers, instances)
        for said in status.subscriptions:
            add_missing(said, missing.get(said.name, ()))
            count_states(said)
            if not request.partitions:
                del said.partitions[:]
        return pb.GetStatusResponse(status=status)

    @override
    async def WatchStatus(
        self, request: pb.WatchStatusRequest, context: Context
    ) -> AsyncIterator[pb.WatchStatusResponse]:
        pause_s = interval_s(request)
        if self._watchers >= WATCHERS_MAX:
            raise TooManyWatchers(f"{WATCHERS_MAX} watch already")
        asked = pb.GetStatusRequest(
            subscription=request.subscription, scope=request.scope, partitions=request.partitions
        )
        self._watchers += 1
        try:
            while not self._ended.is_set():
                answer = await self.GetStatus(asked, context)
                yield pb.WatchStatusResponse(status=answer.status)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._ended.wait()
        finally:
            self._watchers -= 1
