"""All daemons of a subscription, each with its own link.

Each daemon has a part of the partitions, so that the client needs a stream to each. The daemons advertise their addresses;
the configured addresses are only the first ones to ask. A configured address may be that of a load balancer, or another
name of a daemon. The client leaves its stream as soon as a stream to an advertised address is open.
"""

import asyncio

from mps_client.inbox import Inbox
from mps_client.link import Link
from mps_client.settings import Settings
from mps_client.statistics import Counters, DaemonStatistics

DAEMONS_MAX = 256
"""Largest number of advertised addresses that the client uses, more than any group has members."""


def wanted(configured: tuple[str, ...], open_peers: dict[str, tuple[str, ...]], last: tuple[str, ...]) -> set[str]:
    """Return the addresses to have streams to.

    Args:
        open_peers: the addresses with an open stream, each with the addresses that its daemon advertises; empty: none yet.
        last: the last advertised addresses, which are used while no stream is open.
    """
    advertised = {address for peers in open_peers.values() for address in peers}
    if not advertised:
        return {*configured, *last} if not open_peers else {*configured, *open_peers}
    return advertised if advertised & open_peers.keys() else advertised | open_peers.keys()


class Fleet:
    """The links to all daemons; `run` needs a task of its own."""

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
        """Keep a link to each daemon until `leave`, and until every stream has ended."""
        async with asyncio.TaskGroup() as links:
            while not self._is_left:
                self._news.clear()
                self._adjust(links)
                await self._news.wait()

    def leave(self) -> None:
        """Return the queued records, and close each stream when its running records are settled."""
        self._is_left = True
        for link in self._links.values():
            link.leave()
        self._news.set()

    def open_addresses(self) -> str:
        """Return the addresses whose streams have not ended, for a message."""
        return ", ".join(link.address for link in self._links.values() if link.stream is not None) or "a daemon"

    def release(self) -> None:
        """Release all records that are not settled."""
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
        """Adjust the links soon; return False if every daemon refuses, so that no link connects again."""
        self._has_worked = self._has_worked or any(link.is_open for link in self._links.values())
        self._refuse_all_or_none()
        self._news.set()
        return self._inbox.failure is None

    async def _follow(self, link: Link) -> None:
        await link.run()
        del self._links[link.address]
        self._news.set()

    def _refuse_all_or_none(self) -> None:
        """Close the inbox if no stream ever opened and every daemon refuses, because then the arguments are wrong."""
        refusals = [link.refusal for link in self._links.values()]
        if not self._has_worked and refusals and all(refusals):
            self._inbox.close(refusals[0])
