"""The standard health service and reflection on the admin listener."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from typing_extensions import override

from mps.admin.v1 import admin_pb2
from mps.delivery.v1 import delivery_pb2
from mpsd.admin.daemon import Daemon

WATCH_S = 1.0
"""Interval at which a watched status is looked at again."""
WATCHERS_MAX = 100

HEALTH = "grpc.health.v1.Health"
DESCRIBED = (admin_pb2.DESCRIPTOR, delivery_pb2.DESCRIPTOR)
"""Files that reflection can describe, whether this listener serves their services or not."""

Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """grpc.health.v1: the daemon as a whole, and each service by name, serve while the daemon is ready.

    Not the library's servicer: that one is told every change and keeps the answer, whereas readiness is asked here when
    somebody wants to know; and its watches never end by themselves, so that each stop would last its whole grace.
    """

    def __init__(self, daemon: Daemon, watch_s: float = WATCH_S) -> None:
        self._daemon = daemon
        self._watch_s = watch_s
        self._services = {"", HEALTH, reflection.SERVICE_NAME}
        self._ended = asyncio.Event()
        self._watchers = 0

    def serves(self, service: str) -> None:
        """Let a service be asked for by its full name."""
        self._services.add(service)

    @property
    def listed(self) -> list[str]:
        """Return the names of the services, without the daemon as a whole."""
        return sorted(self._services - {""})

    def end(self) -> None:
        """Report NOT_SERVING from now on, and end the watches."""
        self._ended.set()

    def status(self, service: str) -> int:
        if service not in self._services:
            return Status.SERVICE_UNKNOWN
        return Status.NOT_SERVING if self._ended.is_set() or self._daemon.not_ready() else Status.SERVING

    @override
    async def Check(self, request: health_pb2.HealthCheckRequest, context: aio.ServicerContext[Any, Any]) -> Status:
        status = self.status(request.service)
        if status == Status.SERVICE_UNKNOWN:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"no service of that name; there are {sorted(self._services)}"
            )
        return Status(status=status)

    @override
    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Status]:
        if self._watchers >= WATCHERS_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{WATCHERS_MAX} watch already")
        self._watchers += 1
        try:
            async for status in self._changes(request.service):
                yield Status(status=status)
        finally:
            self._watchers -= 1

    async def _changes(self, service: str) -> AsyncIterator[int]:
        last = None
        while not self._ended.is_set() or last is None:
            if (status := self.status(service)) != last:
                yield status
                last = status
            with suppress(TimeoutError):
                async with asyncio.timeout(self._watch_s):
                    await self._ended.wait()
        if (status := self.status(service)) != last:
            yield status


def add_health_and_reflection(server: aio.Server, health: Health) -> None:
    """Add the two services; reflection lists the services that `health` knows, so call it after the others."""
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection(health.listed, server)
