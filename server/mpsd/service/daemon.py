"""The running daemon: starts its parts in the order that delivers soonest, stops them in the order that loses nothing."""

import asyncio
import gc
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress

from mpsd import __version__
from mpsd.admin.daemon import ControlStatistics, Finding, WatchedFiles
from mpsd.config import Admin, Config, Http, Stream, StreamDelivery
from mpsd.config.effective import effective_settings, settings_hash
from mpsd.core.states import DeliveryState
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.kafka.connection import ClientOptions
from mpsd.kafka.dead_letter_log import DeadLetterEnds, TopicEnds
from mpsd.listeners.address import address_of, advertised, bind
from mpsd.listeners.identity import new_identity
from mpsd.listeners.reach import faults
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.statistics import SubscriptionStatistics
from mpsd.ports import SYSTEM_CLOCK, Peer
from mpsd.service.build import Watched, control_plane, pipelines
from mpsd.service.check import check_tokens
from mpsd.service.cluster_admin import ClusterAdmin
from mpsd.service.open_files import raise_limit
from mpsd.service.reload import Reconfiguration, Reloads, watch_security

log = logging.getLogger("mpsd.service")

POLL_SILENCE_MAX_S = 60.0
"""Time that a Reader may not have polled until the daemon is taken for stuck."""
GC_THRESHOLD = 50_000
"""Objects made between two collections of the youngest generation: records are many and hold no cycles.

Measured, with the freeze after the start: 15.4 µs of CPU a record against 16.5 with the interpreter's own settings.
"""


class Daemon:
    """All subscriptions and listeners of one daemon.

    Takes: a configuration.
    Gives: statistics and health to the listeners.
    """

    def __init__(
        self,
        config: Config,
        log_lines_suppressed: Callable[[], int],
        watched: Watched = lambda adapter: adapter,
        reconfiguration: Reconfiguration | None = None,
    ) -> None:
        """Bind the addresses, so that an address in use is an error before anything starts.

        Args:
            watched: wraps each adapter.
            reconfiguration: reads the configuration again when somebody asks for it.

        Raises:
            ConfigError: a certificate, key or secret cannot be used.
            AddressInUse, AddressUnusable: a listener cannot listen.
        """
        self._config = config
        self._suppressed = log_lines_suppressed
        self._is_stopping = False
        check_tokens(config)
        self._listeners = _bind_all(config)
        self.peer = _peer_of(config, self._listeners)
        self.reloads = Reloads(config.reload.interval_s)
        self._options = ClientOptions(config.kafka)
        watch_security(self.reloads, config, self._options)
        self.control = control_plane(config, self._options, self.peer.admin or socket.gethostname())
        self.pipelines: Sequence[Pipeline] = pipelines(
            config, self._options, self.peer, self.control, watched, self.reloads
        )
        neighbours = Neighbours(lambda: [self.peer, *(peer for each in self.pipelines for peer in each.peers)])
        for pipeline in self.pipelines:
            pipeline.watch_members(neighbours.look)
        self.clock = SYSTEM_CLOCK
        self.started_at_s = self.clock.wall_s()
        self.settings = effective_settings(config)
        self.config_hash = settings_hash(self.settings)
        cluster = ClusterAdmin(config, self._options)
        self._look_at_all, self.members = cluster.diagnose, cluster.members
        self._reconfiguration = reconfiguration
        self.partitions, self.moves, self.positions = cluster.partitions, cluster.moves, cluster.positions
        self.dead_letters = cluster.dead_letters

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then finish the deliveries in flight within `shutdown.grace_s`."""
        await self.control.start()
        for pipeline in self.pipelines:
            await pipeline.start()
        async with AsyncExitStack() as listeners:
            listeners.push_async_callback(self._begin_counting())
            await self._listen(listeners)
            await listeners.enter_async_context(self.reloads.running())
            if self._reconfiguration is not None:
                await listeners.enter_async_context(self._reconfiguration.running(self._config, self.reloads))
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD, 20, 20)
            await stop.wait()
            await self._stop()

    def _begin_counting(self) -> Callable[[], Awaitable[None]]:
        """Count dead letters from now on; return a function that ends the count."""
        ends = DeadLetterEnds(self._options)
        topics = {each.name: each.dead_letter.topic for each in self._config.subscriptions}
        counting = asyncio.create_task(count_unresolved(ends.look, topics, self.pipelines), name="dead-letter count")

        async def end() -> None:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            await ends.close()

        return end

    async def _listen(self, listeners: AsyncExitStack) -> None:
        """Open the listeners, whose libraries are imported here: they take longer to load than the groups take to join."""
        config, bound, reloads = self._config, self._listeners, self.reloads
        addresses = {table: address_of(listener) for table, listener in bound.items()}
        raise_limit(config)
        await asyncio.sleep(0)
        from mpsd.service.http_listener import serving_http_api  # noqa: PLC0415

        await listeners.enter_async_context(serving_http_api(self, config, bound["http"], reloads, self._suppressed))
        await asyncio.sleep(0)
        from mpsd.admin.grpc import Health  # noqa: PLC0415
        from mpsd.service.grpc_listeners import serving_admin, serving_streams  # noqa: PLC0415

        health = Health(self)
        if "stream" in bound:
            await listeners.enter_async_context(serving_streams(self, config, bound["stream"], health, reloads))
        await listeners.enter_async_context(serving_admin(self, config, bound["admin"], health, reloads))
        log.info(
            "mpsd %s serves %d subscriptions; %s",
            __version__,
            len(self.pipelines),
            ", ".join(f"{table} {address}" for table, address in addresses.items()),
            extra={"code": "service.started"},
        )

    async def _stop(self) -> None:
        self._is_stopping = True
        grace_s = self._config.shutdown.grace_s
        log.info("stopping; deliveries in flight may take %.0f s more", grace_s, extra={"code": "service.stopping"})
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
            silence_s = self.clock.monotonic_s() - pipeline.reader.polled_at_s
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
        return [
            f"subscription {each.name} is {each.state}: {each.reason}"
            for each in self.statistics()
            if each.state is not DeliveryState.RUNNING
        ]


def _listeners_of(config: Config) -> dict[str, Admin | Http | Stream]:
    """Return the configuration's tables of listeners by name."""
    return {"http": config.http, "admin": config.admin, "stream": config.stream}


def _peer_of(config: Config, bound: Mapping[str, socket.socket]) -> Peer:
    """Return the addresses and names by which other members of the groups know this process."""
    brokers = config.kafka.bootstrap_servers
    addresses = {
        table: advertised(listener.advertise, bound[table], brokers) if table in bound else ""
        for table, listener in _listeners_of(config).items()
    }
    return Peer(**addresses, **new_identity()._asdict())


def _bind_all(config: Config) -> dict[str, socket.socket]:
    """Bind every listener that has something to serve, by table; all or none."""
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


log = logging.getLogger("mpsd.service")


class Neighbours:
    """A check of the addresses of all members of this daemon's groups; each fault is logged once.

    Args:
        members: returns all current members, this daemon included.
    """

    def __init__(self, members: Callable[[], Iterable[Peer]]) -> None:
        self._members = members
        self._reported: frozenset[str] = frozenset()

    def look(self) -> None:
        """Log new faults, and the end of the last one."""
        found = frozenset(faults(frozenset(self._members())).values())
        for fault in sorted(found - self._reported):
            log.error("%s; no change is confirmed until that is mended", fault, extra={"code": "fleet.unreachable"})
        if self._reported and not found:
            log.info("all daemons can be reached: changes are confirmed again", extra={"code": "fleet.reachable"})
        self._reported = found


LOOK_INTERVAL_S = 5.0
"""Between two look-ups of the ends of dead-letter topics; as for source topics."""


async def count_unresolved(
    look: Callable[[Collection[str]], Awaitable[Mapping[str, TopicEnds]]],
    topics: Mapping[str, str],
    pipelines: Sequence[Pipeline],
) -> None:
    """Look up the ends of all dead-letter topics again and again, until cancelled, and pass them to the pipelines.

    A topic that cannot be looked up keeps its last ends.

    Args:
        topics: the dead-letter topic of each subscription.
    """
    while True:
        with suppress(KafkaUnavailable, KafkaRefused):
            found = await look(set(topics.values()))
            for pipeline in pipelines:
                ends = found.get(topics[pipeline.settings.name])
                pipeline.see_dead_letters(*((ends.bounds, ends.id) if ends is not None else ({}, "")))
        await asyncio.sleep(LOOK_INTERVAL_S)
