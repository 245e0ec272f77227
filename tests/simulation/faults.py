"""The schedule of faults: what goes wrong, when and for how long, drawn from the seed."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from mpsd.demo.guarantees import RecordPosition
from mpsd.demo.guarantees.events import OutageBegan, OutageEnded
from tests.simulation.application import Exchange, Health
from tests.simulation.daemon import Daemon
from tests.simulation.plan import PRODUCE_S

if TYPE_CHECKING:
    from tests.simulation.story import Story

FAULTS_MIN, FAULTS_MAX = 6, 10
RELEASED_S = 5.0
"""Time that a killer waits for somebody to release a key."""
FORGOTTEN_S = 2.0
"""Within this time a member that was forgotten has noticed."""


class Faults:
    """Everything that goes wrong in a story; ends with all of it put right.

    Attributes:
        happened: how often each kind did.
    """

    def __init__(self, story: "Story", dice: random.Random) -> None:
        self._story = story
        self._dice = dice
        self._loop = story.loop
        self.happened: Counter[str] = Counter()
        self._outages = 0
        self._alone_until_s = 0.0
        self._failed_before: Counter[RecordPosition] = Counter()

    async def run(self) -> None:
        kinds = self._kinds()
        chosen = self._dice.choices([kind for kind, _ in kinds], [weight for _, weight in kinds], k=self._count())
        chosen.append(self._dice.choice((self.kill, self.restart, self.join, self.freeze)))
        await asyncio.gather(*(self._at(self._dice.random() * PRODUCE_S, kind) for kind in chosen))
        await self._heal()

    def _count(self) -> int:
        return self._dice.randint(FAULTS_MIN, FAULTS_MAX)

    def _kinds(self) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        blocked = [(self.trouble_control, 4), (self.kill_at_release, 4)] if self._story.plan.holds else []
        return [
            *blocked,
            (self.kill, 4),
            (self.restart, 4),
            (self.join, 3),
            (self.freeze, 4),
            (self.cut, 2),
            (self.strand, 3),
            (self.lose_broker, 2),
            (self.forget_member, 12 if self._story.plan.daemons == 1 else 0),
            (self.trouble_commits, 3),
            (self.trouble_dead_letters, 3),
            (self.stop_application, 3),
            (self.crash_application, 3),
            (self.sicken_application, 5),
            (self.slow_down, 2),
            (self.jump, 2),
            (self.expire, 2),
        ]

    async def _at(self, at_s: float, fault: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(0.5 + at_s)
        await fault()

    def _happens(self, what: str, to: str = "") -> None:
        self.happened[what] += 1
        self._story.tell(f"fault: {what} {to}".rstrip())

    def _victim(self) -> Daemon | None:
        able = [d for d in self._story.living if d.process.runs and not d.is_stopping and d.pipeline is not None]
        return self._dice.choice(able) if able else None

    async def _pause(self, *around_s: float) -> None:
        await asyncio.sleep(self._dice.choice(around_s) * (0.7 + 0.6 * self._dice.random()))

    # daemons
    async def kill(self) -> None:
        if (daemon := self._victim()) is not None:
            await self._kill(daemon, "kill")

    async def kill_at_release(self) -> None:
        """In the moment in which it lets a key go."""
        blocked = self._story.witness.blocked
        before, until_s = blocked.released, self._loop.time() + RELEASED_S
        while blocked.released == before and self._loop.time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        daemon = self._story.daemons.get(blocked.released_by)
        if blocked.released != before and daemon is not None and daemon.process.runs and not daemon.is_gone:
            await self._kill(daemon, "kill at release")

    async def _kill(self, daemon: Daemon, what: str) -> None:
        self._happens(what, daemon.name)
        self._story.forgets(daemon)
        daemon.kill()
        await self._pause(0.1, 1.0, 4.0)
        await self._start(_slot(daemon))

    async def _start(self, slot: int) -> Daemon:
        while (wait_s := self._alone_until_s - self._loop.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait_s)
        return self._story.start_daemon(slot)

    async def restart(self) -> None:
        if (daemon := self._victim()) is None:
            return
        self._happens("restart", daemon.name)
        await self._stop(daemon)
        await self._pause(0.1, 1.0)
        await self._start(_slot(daemon))

    async def _stop(self, daemon: Daemon) -> None:
        began_s = self._loop.time()
        await daemon.stop()
        self._story.tell(f"{daemon.name} has stopped")
        if self._story.unrest.is_hindered(began_s):
            self._story.forgets_at_stop(daemon)

    async def join(self) -> None:
        slot = 10 + self.happened["join"]
        self._happens("join", f"d{slot}")
        daemon = await self._start(slot)
        await self._pause(2.0, 5.0)
        if daemon.process.runs and not daemon.is_gone and not daemon.is_stopping and daemon.pipeline is not None:
            await self._stop(daemon)

    async def freeze(self) -> None:
        if (daemon := self._victim()) is None:
            return
        self._happens("freeze", daemon.name)
        unrest = self._story.unrest.begins()
        daemon.process.freeze()
        await self._pause(0.3, 1.5, 2.5, 3.5, 6.0)
        self._story.tell(f"{daemon.name} thaws")
        daemon.process.thaw()
        await asyncio.sleep(0.5)
        self._story.unrest.ends(unrest)

    # the broker
    async def strand(self) -> None:
        """Cut off in the moment in which a rebalance begins: it is dropped as soon as can be."""
        if self._victim() is not None:
            await asyncio.gather(self.cut(), self.join())

    async def cut(self) -> None:
        if (daemon := self._victim()) is None:
            return
        both = self._dice.random() < 0.5
        daemon.cut.answers = True
        daemon.cut.requests = both
        self._happens("cut", f"{daemon.name} {'both ways' if both else 'answers'}")
        unrest = self._story.unrest.begins(hinders=True)
        await self._pause(0.5, 2.0, 4.0, 6.0)
        daemon.cut.answers = daemon.cut.requests = False
        self._story.tell(f"{daemon.name} is connected")
        await asyncio.sleep(4.0)
        self._story.unrest.ends(unrest)

    async def lose_broker(self) -> None:
        broker = self._story.broker
        if not broker.is_up:
            return
        self._happens("broker lost")
        unrest = self._story.unrest.begins(hinders=True)
        broker.go_down()
        await self._pause(0.3, 2.0, 5.0)
        broker.come_up()
        self._story.tell("the broker is back")
        await asyncio.sleep(1.0)
        self._story.unrest.ends(unrest)

    async def forget_member(self) -> None:
        """Let the coordinator forget the member of a group of one; in a larger group others would still deliver."""
        if len(self._story.living) == 1 and self._story.broker.is_up:
            self._happens("member forgotten")
            self._alone_until_s = self._loop.time() + FORGOTTEN_S
            unrest = self._story.unrest.begins(hinders=True)
            self._story.broker.group.forget()
            await asyncio.sleep(FORGOTTEN_S)
            self._story.unrest.ends(unrest)

    async def trouble_commits(self) -> None:
        how = self._dice.choice(("lost", "late", "refused"))
        self._happens(f"commit answers {how}")
        unrest = self._story.unrest.begins(hinders=True)
        self._story.broker.commit_answers = how
        await self._pause(1.0, 3.0)
        self._story.broker.commit_answers = "prompt"
        await asyncio.sleep(5.0)
        self._story.unrest.ends(unrest)

    async def trouble_dead_letters(self) -> None:
        self._happens("dead letters refused")
        self._story.problem.refuses = self._dice.choice((0.5, 1.0))
        await self._pause(1.0, 4.0)
        self._story.problem.refuses = 0.0

    async def trouble_control(self) -> None:
        how = self._dice.choice(("late", "lost", "unheard"))
        self._happens(f"control writes {how}")
        unrest = self._story.unrest.begins(hinders=True)  # as to what replays say of themselves
        self._story.control.writes = how
        await self._pause(0.5, 2.0, 4.0)
        self._story.control.writes = "prompt"
        await asyncio.sleep(1.0)
        self._story.unrest.ends(unrest)

    async def expire(self) -> None:
        tp = self._dice.choice(list(self._story.broker.logs))
        log = self._story.broker.logs[tp]
        self._happens("retention", str(tp))
        self._story.expire(tp, self._dice.randint(log.start, log.end))

    # the application
    async def stop_application(self) -> None:
        health = self._dice.choice((Health.DOWN, Health.BUSY))
        self._happens(f"application {health}")
        self._begin_outage()
        self._story.application.health = health
        await self._pause(0.3, 1.5, 3.0)
        self._end_outage()

    async def sicken_application(self) -> None:
        """Let the application answer, and accept nothing, or half of all records."""
        application = self._story.application
        if self._outages or application.health is not Health.WELL:
            await self.join()
            return
        health = self._dice.choice((Health.FAILING, Health.REJECTING, Health.BROWN))
        self._happens(f"application {health}")
        application.health = health
        await self._pause(0.3, 1.5, 3.0)
        if application.health is health:
            application.health = Health.WELL

    async def crash_application(self) -> None:
        if self._outages:
            return
        self._happens("application crashes")
        application = self._story.application
        application.lose(self._chargeable(list(application.in_flight)))
        self._begin_outage()
        application.health = Health.DOWN
        application.lose(list(application.in_flight))
        await self._pause(0.2, 1.0)
        self._end_outage()

    def _chargeable(self, lost: list[Exchange]) -> list[Exchange]:
        """Return the lost exchanges that a daemon may charge: the only one it lost, or one that was lost before."""
        alone = Counter(exchange.adapter for exchange in lost)
        places = {exchange: RecordPosition.of(exchange.delivery.record) for exchange in lost}
        blamed = [e for e in lost if alone[e.adapter] == 1 or self._failed_before[places[e]]]
        self._failed_before.update(places.values())
        return blamed

    def _begin_outage(self) -> None:
        self._outages += 1
        self._story.application.outages += 1
        if self._outages == 1:
            self._story.see(OutageBegan(self._loop.time()), "outage")

    def _end_outage(self) -> None:
        self._outages -= 1
        if not self._outages:
            self._story.application.health = Health.WELL
            self._story.see(OutageEnded(self._loop.time()), "outage over")

    # time
    async def slow_down(self) -> None:
        self._happens("slow")
        unrest = self._story.unrest.begins()
        self._story.broker.slow = self._story.application.slow = self._dice.choice((5.0, 20.0))
        await self._pause(1.0, 3.0)
        self._story.broker.slow = self._story.application.slow = 1.0
        self._story.unrest.ends(unrest)

    async def jump(self) -> None:
        self._happens("wall clock jumps")
        self._story.wall_offset_s += self._dice.choice((-7200.0, -1.0, 1.0, 86400.0))

    async def _heal(self) -> None:
        """Every fault ends by itself; what is left is a daemon too few."""
        if not any(daemon.process.runs for daemon in self._story.living):
            self._story.start_daemon(99)


def _slot(daemon: Daemon) -> int:
    return int(daemon.name[1:].split(".")[0])
