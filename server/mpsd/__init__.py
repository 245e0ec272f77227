"""The daemon: records flow from Kafka to an application, one key in order."""

from importlib.metadata import version

__version__ = version("kafka-mps")
