"""A network that cuts connections and slows them down."""

import pytest

from tests.faults.figures import Figures
from tests.faults.fleet import REPEATED_S, Fleet, Quiet
from tests.faults.proxy import Proxy
from tests.integration.world import Message, until

pytestmark = pytest.mark.integration


async def test_connections_are_cut_again_and_again(guarded: Fleet, proxy: Proxy, figures: Figures) -> None:
    await guarded.create_topic()
    await guarded.start("a", "b")
    await guarded.balanced()
    async with guarded.load(per_s=500):
        with Quiet(*guarded) as quiet:
            for _ in range(6):
                await proxy.cut()
                await guarded.more(100)
            guarded.cut()
            proxy.is_open = False
            await proxy.cut()
            tried = proxy.connections
            await until(lambda: proxy.connections > tried + 4, "they have tried to connect")
        proxy.is_open = True
        await guarded.more()
        await guarded.balanced()
    cost = await guarded.settle(REPEATED_S)
    figures.note("connections to the broker cut seven times", **cost, **quiet.figures)


async def test_a_slow_network(guarded: Fleet, proxy: Proxy, figures: Figures) -> None:
    await guarded.create_topic()
    await guarded.start("a", "b")
    await guarded.balanced()
    proxy.bytes_per_s = 30_000
    messages = [Message(f"k{number % 300}".encode(), bytes(200)) for number in range(2_000)]
    await guarded.world.produce(guarded.topic, messages)
    await guarded.more(1_000)
    proxy.bytes_per_s = 0
    cost = await guarded.settle()
    assert cost["again"] == 0
    figures.note("30 kB/s for each connection to the broker", **cost)
