"""All daemons of a subscription, each with its own link.

Every daemon has part of the partitions, so the client keeps a stream to each. Where they are, the daemons say: what was
configured is only where to ask first. A configured address may be another name of a daemon (or of a load balancer before
them); as soon as a stream to an advertised address is open, such a stream is left.
"""

import asyncio

from mps_client.inbox import Inbox
from mps_client.link import Link
from mps_client.settings import Settings
from mps_client.statistics import Counters, DaemonStatistics

DAEMONS_MAX = 256
"""More than any group has members; a daemon that names more is not believed."""


def wanted(configured: tuple[str, ...], open_peers: dict[str, tuple[str, ...]], last: tuple[str, ...]) -> set[str]:
    """Return the addresses to have streams to.

    Args:
        open_peers: the addresses with an open stream, each with what its daemon says of the fleet; empty: nothing yet.
        last: what was advertised before; for when nobody can be asked.
    """
    advertised = {address for peers in open_peers.values() for address in peers}
    if not advertised:
        return {*configured, *last} if not open_peers else {*configured, *open_peers}
    return advertised if advertised & open_peers.keys() else advertised | open_peers.keys()


class Fleet:
    """Run it in a task."""

    def __init__(self, settings: Settings, inbox: Inbox, counters: Counters) -> None:
        self._settings = settings
        self._inbox = inbox
        self._counters = counters
        self._links: dict[str, Link] = {}
        self._last: tuple[str, ...] = ()
        self._has_worked = False
        self._is_left = False
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Fleet {list(self._links.values())}>"

    async def run(self) -> None:
        """Until it is left, and every stream is over."""
        async with asyncio.TaskGroup() as links:
            while not self._is_left:
                self._news.clear()
                self._adjust(links)
                await self._news.wait()

    def leave(self) -> None:
        """Finish what runs, give back the rest."""
        self._is_left = True
        for link in self._links.values():
            link.leave()
        self._news.set()

    def open_addresses(self) -> str:
        """Return where streams are not over yet, for a message."""
        return ", ".join(link.address for link in self._links.values() if link.stream is not None) or "a daemon"

    def release(self) -> None:
        """Nobody settles what is held."""
        for link in self._links.values():
            if link.stream is not None:
                link.stream.release_all()

    def statistics(self) -> tuple[DaemonStatistics, ...]:
        """Return the statistics of every daemon."""
        return tuple(link.statistics() for link in self._links.values())

    def _adjust(self, links: asyncio.TaskGroup) -> None:
        if self._inbox.failure is not None:
            return
        open_peers = {
            link.address: tuple(filter(None, link.stream.peers))[:DAEMONS_MAX]
            for link in self._links.values()
            if link.stream is not None and link.stream.is_open
        }
        if open_peers:
            self._has_worked = True
            self._last = tuple({address for peers in open_peers.values() for address in peers})[:DAEMONS_MAX]
        targets = wanted(self._settings.addresses, open_peers, self._last)
        for address in targets - self._links.keys():
            self._links[address] = link = Link(address, self._settings, self._inbox, self._counters, self._on_news)
            links.create_task(self._follow(link))
        for address in self._links.keys() - targets:
            self._links[address].leave()
        self._refuse_all_or_none()

    def _on_news(self) -> bool:
        """Look again, soon; return False if every daemon refuses, so that nobody connects again."""
        self._has_worked = self._has_worked or any(link.is_open for link in self._links.values())
        self._refuse_all_or_none()
        self._news.set()
        return self._inbox.failure is None

    async def _follow(self, link: Link) -> None:
        await link.run()
        del self._links[link.address]
        self._news.set()

    def _refuse_all_or_none(self) -> None:
        """Close the inbox if no stream ever opened and every daemon refuses: the fault is in the subscription's arguments."""
        refusals = [link.refusal for link in self._links.values()]
        if not self._has_worked and refusals and all(refusals):
            self._inbox.close(refusals[0])
