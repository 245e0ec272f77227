"""The daemon: records flow from Kafka to an application, one key in order."""

import os
from importlib.metadata import version

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
"""gRPC reads it when it is imported. At its own default it writes lines of its own form to stderr, between those of our log."""

__version__ = version("kafka-mps")
