"""The operator's tool; it meets the daemon only in the proto.

commands/  what is typed: one module for each group, only signatures and words until one is called
parse      durations, rates, times, records, as people type them
settings   which daemon, and how to reach it: flags over environment over file
client/    one channel, deadlines, and what its errors mean
views/     what came back, as plain values: the shapes of --json
render/    the same for people: tables, live views, progress

commands → client → proto → views → render → terminal
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
"""gRPC reads it when it is imported. At its own default it writes to the terminal when a daemon ends during a call."""


def __getattr__(name: str) -> str:
    """`__version__`, read when somebody asks: looking it up takes longer than all else of `mpsctl --help`."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("kafka-mps")
    raise AttributeError(name)
