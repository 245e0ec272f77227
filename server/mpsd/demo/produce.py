"""More orders for a demo that was left running: `python -m mpsd.demo.produce BOOTSTRAP_SERVERS TOPIC [COUNT]`."""

import asyncio
import sys

from mpsd.demo.story import RECORDS_MIN, orders
from mpsd.kafka.topics import Topics

CUSTOMERS = 500


async def produce(bootstrap_servers: str, topic: str, count: int) -> None:
    """Produce the orders of the demo, some of which are poison, and some of which fail twice."""
    async with Topics(bootstrap_servers.split(",")) as topics:
        written = await topics.produce(topic, orders(max(RECORDS_MIN, count), CUSTOMERS).messages)
    print(f"{len(written):,} records are in {topic}")


if __name__ == "__main__":
    asyncio.run(produce(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1_000))
