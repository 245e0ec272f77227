"""Report what becomes of an endpoint, and keep its brake in the control topic."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from mpsd.core.brake import BRAKE, BrakeRecord, BrakeState
from mpsd.core.breaker import ALL_REJECTED, OUT, UP, Breaker, EndpointState, Transition
from mpsd.core.control import OfSubscription
from mpsd.core.outcome import Moment
from mpsd.errors import ControlOff, ControlUnavailable
from mpsd.pipeline.pending_queue import PendingQueue
from mpsd.ports import Clock, Control

log = logging.getLogger("mpsd.endpoint")

WRITE_REST_S = 1.0
"""Rest between two tries to write the brake into the control topic; the brake is engaged in this daemon all the while."""
REASON_CHARS_MAX = 500
"""Length of the last failure's reason in a log line and in the control record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatistics:
    """An endpoint, as its deliveries tell it.

    Attributes:
        state: `up`, `endpoint-out` or `all-rejected`.
        since_ms: when deliveries began to fail without a success between, milliseconds since the epoch; 0 while up.
        reason: the last failure or rejection, in the application's words where it has some; empty while up.
        rejections: records dead-lettered in a row before the brake engaged; 0 in any other state.
        outages: how often it was out, since the daemon started.
        brakes: how often the brake engaged, since the daemon started.
        is_accepted: an operator accepted the rejections, and nothing has succeeded since.
        changed_ms: when the state last changed, milliseconds since the epoch; 0: never.
    """

    state: EndpointState = UP
    since_ms: int = 0
    reason: str = ""
    rejections: int = 0
    outages: int = 0
    brakes: int = 0
    is_accepted: bool = False
    changed_ms: int = 0


class Endpoint:
    """The state of a subscription's endpoint, reported and remembered.

    Takes: transitions of the breaker; the brake as the control topic has it.
    Gives: a log line for each transition; the brake to the control topic.
    Holds at most: one brake that is still to be written.

    Attributes:
        brake: as the control topic has it; None: it says nothing.
    """

    def __init__(
        self,
        subscription: str,
        group: str,
        address: str,
        breaker: Breaker,
        pending: PendingQueue,
        control: Control,
        clock: Clock,
        number: int,
    ) -> None:
        """Begin with an endpoint that is up.

        Args:
            address: of the endpoint, as people know it; its query is not shown.
            number: tells this process from others, 1 or more.
        """
        self._subscription = subscription
        self._key = BRAKE.entity_key(group, OfSubscription(subscription))
        self._address = address.partition("?")[0]
        self._breaker = breaker
        self._pending = pending
        self._control = control
        self._clock = clock
        self._number = number
        self._remembered = BrakeState.RELEASED
        self.brake: BrakeRecord | None = None
        self._writing: asyncio.Task[None] | None = None
        self._changed_ms = 0

    def report(self) -> None:
        """Report the transitions of the breaker, and remember its brake."""
        transitions, now = list(self._breaker.transitions), self._now()
        self._breaker.transitions.clear()
        for each in transitions:
            self._changed_ms = now.wall_ms
            self._tell(each, now.now_s - each.since.now_s)
        self._remember()

    def set_brake(self, record: BrakeRecord | None) -> None:
        """Do as the control topic says; what this process wrote itself is known already."""
        self.brake = record
        if record is None or record.writer == self._number:
            return
        self._remembered = record.state
        breaker, now = self._breaker, self._now()
        match record.state:
            case BrakeState.ENGAGED:
                age_s = max(0.0, (now.wall_ms - record.since_ms) / 1000)
                since = Moment(now.now_s - age_s, record.since_ms)
                breaker.brake(now, since, record.rejections, record.reason, record.at_ms)
            case BrakeState.ACCEPTED:
                breaker.accept(now)
            case BrakeState.RELEASED if not breaker.release(record.at_ms):
                self._remember()  # that success was before this brake engaged: it goes on, for all daemons
            case _:
                pass

    async def stop(self) -> None:
        """Write nothing any more."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    def statistics(self) -> EndpointStatistics:
        """Return what holds now."""
        breaker = self._breaker
        is_up = breaker.state is UP
        since_ms = breaker.since.wall_ms if breaker.since is not None and not is_up else 0
        return EndpointStatistics(
            state=breaker.state,
            since_ms=since_ms,
            reason="" if is_up else breaker.reason,
            rejections=breaker.rejections if breaker.state is ALL_REJECTED else 0,
            outages=breaker.opened,
            brakes=breaker.braked,
            is_accepted=breaker.is_accepted,
            changed_ms=self._changed_ms,
        )

    @property
    def _wanted(self) -> BrakeState:
        if self._breaker.state is ALL_REJECTED:
            return BrakeState.ENGAGED
        return BrakeState.ACCEPTED if self._breaker.is_accepted else BrakeState.RELEASED

    def _remember(self) -> None:
        """Write the brake, if the control topic says something else."""
        if self._control.is_on and self._wanted is not self._remembered and self._writing is None:
            self._writing = asyncio.create_task(self._write(), name=f"{self._subscription} brake")
            self._writing.add_done_callback(self._written)

    async def _write(self) -> None:
        while (wanted := self._wanted) is not self._remembered:
            breaker = self._breaker
            since_ms = breaker.since.wall_ms if breaker.since is not None else self._now().wall_ms
            reason = breaker.reason[:REASON_CHARS_MAX]
            at_ms = breaker.changed_ms if wanted is BrakeState.ENGAGED else self._changed_ms
            said = BrakeRecord(
                state=wanted,
                since_ms=since_ms,
                at_ms=at_ms,
                rejections=breaker.rejections,
                reason=reason,
                writer=self._number,
            )
            try:
                await self._control.record([(self._key, BRAKE.document(said))])
            except (ControlUnavailable, ControlOff) as error:
                extra = {"code": error.code, "subscription": self._subscription}
                log.warning("cannot write the brake to the control topic: %s; trying again", error, extra=extra)
                await asyncio.sleep(WRITE_REST_S)
            else:
                self._remembered = wanted

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            extra = {"code": "internal", "subscription": self._subscription}
            log.error("the brake is not in the control topic: %s", error, exc_info=error, extra=extra)

    def _tell(self, change: Transition, lasted_s: float) -> None:
        """Write one line for a transition."""
        name, address, reason = self._subscription, self._address, change.reason[:REASON_CHARS_MAX]
        began = datetime.fromtimestamp(change.since.wall_ms / 1000, UTC).strftime("%H:%M:%SZ")
        waiting = sum(len(queue.tracker.unfinished) for queue in self._pending.queues.values())
        fields = {
            "subscription": name, "endpoint": address, "since_ms": change.since.wall_ms, "waiting_records": waiting
        }  # fmt: skip
        if change.after is OUT:
            log.error(
                "endpoint %s is out: nothing has succeeded since %s, the last failure: %s; deliveries pause at no cost to"
                " %d waiting records, and probes go on",
                address, began, reason, waiting, extra={**fields, "code": "endpoint.out"},
            )  # fmt: skip
        elif change.after is ALL_REJECTED:
            log.error(
                "endpoint %s rejects everything: %d records in a row since %s, the last: %s; dead-lettering stops, %d"
                " records wait, and probes go on; if the rejections are right: mpsctl accept-rejections %s",
                address, change.rejections, began, reason, waiting, name, extra={**fields, "code": "endpoint.all_rejected"},
            )  # fmt: skip
        elif change.accepted:
            log.warning(
                "rejections of endpoint %s are accepted: they are dead-lettered until a delivery succeeds; %d records wait",
                address, waiting, extra={**fields, "code": "endpoint.rejections_accepted"},
            )  # fmt: skip
        elif change.before is UP:
            log.info(
                "endpoint %s accepts records again: dead-lettering stops again after as many rejections in a row",
                address, extra={**fields, "code": "endpoint.back"},
            )  # fmt: skip
        else:
            log.warning(
                "endpoint %s is back after %.1f s (%s): deliveries go on, %d records wait",
                address, lasted_s, change.before.value, waiting,
                extra={**fields, "code": "endpoint.back", "lasted_s": round(lasted_s, 3)},
            )  # fmt: skip

    def _now(self) -> Moment:
        return Moment(self._clock.monotonic_s(), int(self._clock.wall_s() * 1000))
