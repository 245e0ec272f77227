"""The running daemon: starts its parts in the order that delivers soonest, stops them in the order that loses nothing."""

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from mpsd import __version__
from mpsd.admin.daemon import ControlStatistics, Finding, WatchedFiles
from mpsd.config import Admin, Config, Http, Stream, StreamDelivery
from mpsd.config.effective import effective_settings, settings_hash
from mpsd.core.states import DeliveryState
from mpsd.kafka.connection import client_options
from mpsd.kafka.dead_letter_ends import DeadLetterEnds
from mpsd.listeners.address import address_of, advertised, bind
from mpsd.listeners.identity import new_identity
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.statistics import SubscriptionStatistics
from mpsd.ports import Peer
from mpsd.service.build import Watched, pipelines
from mpsd.service.build_control import control_plane
from mpsd.service.callers import check_tokens
from mpsd.service.cluster_admin import ClusterAdmin
from mpsd.service.neighbours import Neighbours
from mpsd.service.reconfigure import Reconfiguration
from mpsd.service.reloads import Reloads
from mpsd.service.steering import asked_of, steer
from mpsd.service.unresolved import count_unresolved
from mpsd.service.watched import watch_security

if TYPE_CHECKING:
    from mpsd.admin.grpc import Health

log = logging.getLogger("mpsd.service")

POLL_SILENCE_MAX_S = 60.0
"""How long a Reader may not have polled until the daemon is taken for stuck."""
GC_THRESHOLD = 50_000
"""Objects made between two collections of the youngest generation: records are many and hold no cycles.

Measured, with the freeze after the start: 15.4 µs of CPU a record against 16.5 with the interpreter's own settings.
"""


class Service:
    """All subscriptions and listeners of one daemon.

    Takes: a configuration.
    Gives: statistics and health to the listeners.
    """

    def __init__(
        self, config: Config, log_lines_suppressed: Callable[[], int], watched: Watched = lambda adapter: adapter
    ) -> None:
        """Take the addresses, so that one in use is an error before anything starts.

        Args:
            watched: what adapters are wrapped in.

        Raises:
            ConfigError: a certificate, key or secret cannot be used.
            AddressInUse, AddressUnusable: a listener cannot listen.
        """
        self._config = config
        self._suppressed = log_lines_suppressed
        self._watched = watched
        self.pipelines: Sequence[Pipeline] = ()
        self._is_stopping = False
        self._neighbours = Neighbours(lambda: [self.peer, *(peer for each in self.pipelines for peer in each.peers)])
        check_tokens(config)
        self._listeners = _bind_all(config)
        self.peer = _peer_of(config, self._listeners)
        self.reloads = Reloads(config.reload.interval_s)
        self._options = client_options(config.kafka)
        watch_security(self.reloads, config, self._options)
        self.control = control_plane(config, self._options, self.peer.admin or socket.gethostname())
        self.started_at_s = time.time()
        self.settings = effective_settings(config)
        self.config_hash = settings_hash(self.settings)
        cluster = ClusterAdmin(config, self._options)
        self._look_at_all, self.members = cluster.diagnose, cluster.members
        self._reconfiguration: Reconfiguration | None = None
        self.partitions, self.moves, self.positions = cluster.partitions, cluster.moves, cluster.positions
        self.dead_letters = cluster.dead_letters

    async def run(self, stop: asyncio.Event, reconfiguration: Reconfiguration | None = None) -> None:
        """Serve until `stop` is set, then finish what is in flight within `shutdown.grace_s`.

        Args:
            reconfiguration: reads the configuration again when it is asked to.
        """
        self._reconfiguration = reconfiguration
        control = self.control
        asked = asked_of(control)
        self.pipelines = pipelines(self._config, self._options, self.peer, asked, self._watched, self.reloads)
        steer(control, self.pipelines)
        for pipeline in self.pipelines:
            pipeline.on_members = self._neighbours.look
        await control.start()
        for pipeline in self.pipelines:
            await pipeline.start()
        async with AsyncExitStack() as listeners:
            listeners.push_async_callback(self._begin_counting())
            await self._listen(listeners)
            await listeners.enter_async_context(self.reloads.running())
            if reconfiguration is not None:
                await listeners.enter_async_context(reconfiguration.running(self._config, self.reloads))
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD, 20, 20)
            await stop.wait()
            await self._stop()

    def _begin_counting(self) -> Callable[[], Awaitable[None]]:
        """Count dead letters from now on; returns what ends it."""
        ends = DeadLetterEnds(self._options)
        topics = {each.name: each.dead_letter.topic for each in self._config.subscriptions}
        counting = asyncio.create_task(count_unresolved(ends.look, topics, self.pipelines), name="dead letters counted")

        async def end() -> None:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            await ends.close()

        return end

    async def _listen(self, listeners: AsyncExitStack) -> None:
        """Open the listeners; imported here, as the libraries take longer to load than the groups to join."""
        await asyncio.sleep(0)
        from mpsd.admin.collector import registry  # noqa: PLC0415 - see above
        from mpsd.admin.http import http_app  # noqa: PLC0415
        from mpsd.listeners.http import serving_http  # noqa: PLC0415
        from mpsd.service.watched_listeners import watch_http_peers, watch_http_tls, watch_tokens  # noqa: PLC0415

        addresses = {table: address_of(listener) for table, listener in self._listeners.items()}
        config, reloads = self._config, self.reloads
        tokens = watch_tokens(reloads, config, "http")
        from mpsd.service.api import bounds_of, routes_of  # noqa: PLC0415
        from mpsd.service.open_files import raise_limit  # noqa: PLC0415

        raise_limit(config)
        routes = routes_of(config, self.pipelines, tokens, watch_http_peers(reloads, config))
        app = http_app(self, registry(self, __version__, self._suppressed), tokens, routes)
        tls = watch_http_tls(reloads, config)
        await listeners.enter_async_context(serving_http(app, self._listeners["http"], tls, bounds_of(config)))
        await asyncio.sleep(0)

        from mpsd.admin.grpc import Health  # noqa: PLC0415
        from mpsd.service.admin import serving_admin  # noqa: PLC0415

        health = Health(self)
        if "stream" in self._listeners:
            await self._listen_for_streams(listeners, health)
        await listeners.enter_async_context(serving_admin(self, config, self._listeners["admin"], health, reloads))
        log.info(
            "mpsd %s serves %d subscriptions; %s",
            __version__,
            len(self.pipelines),
            ", ".join(f"{table} {address}" for table, address in addresses.items()),
            extra={"code": "service.started"},
        )

    async def _listen_for_streams(self, listeners: AsyncExitStack, health: "Health") -> None:
        """Where applications dial in; health and reflection are there as well, as their probes know no other port."""
        from mpsd.admin.grpc import add_health_and_reflection  # noqa: PLC0415 - see above
        from mpsd.delivery.stream.adapter import StreamAdapter  # noqa: PLC0415
        from mpsd.delivery.stream.servicer import SERVICE, DeliveryServicer  # noqa: PLC0415
        from mpsd.listeners.grpc import CALLS_MAX, bounded_server, serving_grpc  # noqa: PLC0415
        from mpsd.service.watched_listeners import watch_grpc_tls, watch_tokens  # noqa: PLC0415

        stream = self._config.stream
        adapters = {pipeline.settings.name: pipeline.adapter for pipeline in self.pipelines}
        servicer = DeliveryServicer(
            {name: adapter for name, adapter in adapters.items() if isinstance(adapter, StreamAdapter)},
            {name for name, adapter in adapters.items() if not isinstance(adapter, StreamAdapter)},
            stream.streams_max,
            watch_tokens(self.reloads, self._config, "stream"),
        )
        server = bounded_server(stream.streams_max + CALLS_MAX)  # above it, so that it is the servicer who refuses
        health.serves(SERVICE)
        servicer.add_to(server)
        add_health_and_reflection(server, health)
        certificates = watch_grpc_tls(self.reloads, self._config, "stream")
        await listeners.enter_async_context(serving_grpc("stream", server, self._listeners["stream"], certificates))

    async def _stop(self) -> None:
        self._is_stopping = True
        grace_s = self._config.shutdown.grace_s
        log.info("stopping: deliveries in flight have %.0f s", grace_s, extra={"code": "service.stopping"})
        await asyncio.gather(*(pipeline.stop(grace_s) for pipeline in self.pipelines))
        await self.control.close()
        log.info("stopped; everything finished is committed", extra={"code": "service.stopped"})

    def statistics(self) -> Sequence[SubscriptionStatistics]:
        return [pipeline.statistics() for pipeline in self.pipelines]

    def control_statistics(self) -> ControlStatistics:
        """See `admin.daemon.Daemon`."""
        control = self.control
        return ControlStatistics(control.is_on, control.waiting_for(), control.revision, control.state.ignored)

    async def diagnose(self, within_s: float) -> Sequence[Finding]:
        """See `admin.daemon.Steerable`."""
        waiting = self._reconfiguration.findings() if self._reconfiguration is not None else ()
        return [*await self._look_at_all(within_s), *waiting]

    def watched_files(self) -> Sequence[WatchedFiles]:
        """See `admin.daemon.Daemon`."""
        return self.reloads.statistics()

    def not_alive(self) -> Sequence[str]:
        """See `admin.daemon.Daemon`."""
        reasons = []
        for pipeline in self.pipelines:
            silence_s = time.monotonic() - pipeline.reader.polled_at_s
            if pipeline.state is DeliveryState.FAILED:
                reasons.append(f"subscription {pipeline.settings.name} has failed: {pipeline.reason}")
            elif pipeline.state is DeliveryState.RUNNING and silence_s > POLL_SILENCE_MAX_S:
                reasons.append(
                    f"subscription {pipeline.settings.name}: its reader has not polled for {silence_s:.0f} s"
                )
        return reasons

    def not_ready(self) -> Sequence[str]:
        """See `admin.daemon.Daemon`."""
        if self._is_stopping:
            return ["shutting down"]
        if not self.pipelines:
            return ["starting"]
        return [
            f"subscription {said.name} is {said.state}: {said.reason}"
            for said in self.statistics()
            if said.state is not DeliveryState.RUNNING
        ]


def _listeners_of(config: Config) -> dict[str, Admin | Http | Stream]:
    """The tables of the listeners, by name."""
    return {"http": config.http, "admin": config.admin, "stream": config.stream}


def _peer_of(config: Config, bound: Mapping[str, socket.socket]) -> Peer:
    """This process as the other members of its groups know it."""
    brokers = config.kafka.bootstrap_servers
    addresses = {
        table: advertised(listener.advertise, bound[table], brokers) if table in bound else ""
        for table, listener in _listeners_of(config).items()
    }
    return Peer(**addresses, **new_identity()._asdict())


def _bind_all(config: Config) -> dict[str, socket.socket]:
    """Every listener that has something to serve, by table; all or none."""
    bound: dict[str, socket.socket] = {}
    streams = any(isinstance(subscription.delivery, StreamDelivery) for subscription in config.subscriptions)
    try:
        for table, listener in _listeners_of(config).items():
            if table != "stream" or streams:
                bound[table] = bind(table, listener.listen)
    except BaseException:
        for each in bound.values():
            each.close()
        raise
    return bound
