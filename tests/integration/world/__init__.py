"""A corner of a real Kafka for one test: topics of its own, an application that does as it is told, and real daemons.

    async with World(bootstrap_servers) as world:
        topic = await world.create_topic(partitions=4)
        daemon = await world.start_daemon(world.subscription(topic))
        await world.produce(topic, [Message(b"k1", b"one"), Message(b"k2", b"two")])
        await world.settled(topic)
        await daemon.stop()
        await world.judge(topic)

What is judged was seen from outside: by the application, or in Kafka. Everything ends with the world, also when the test
is killed.
"""

from tests.integration.world.application import NO_ANSWER, Answer, Application, Behaviour, Request
from tests.integration.world.configuration import configuration
from tests.integration.world.daemon import Daemon, Metrics, run_mpsd
from tests.integration.world.kafka import Message
from tests.integration.world.patience import until
from tests.integration.world.world import World, keyed

__all__ = [
    "NO_ANSWER",
    "Answer",
    "Application",
    "Behaviour",
    "Daemon",
    "Message",
    "Metrics",
    "Request",
    "World",
    "configuration",
    "keyed",
    "run_mpsd",
    "until",
]
