"""The operator's tool; it meets the daemon only in the proto."""

from importlib.metadata import version

__version__ = version("kafka-mps")
