"""The operator's tool. It shares the proto with the daemon, and nothing else.

commands/  the commands: one module for each group, which imports the rest when a command is called
parse      parsers of durations, rates, times and records
settings   the address of a daemon and the credentials: flags over environment over file
client/    the channel to a daemon, deadlines and errors
views/     the answers as plain values: the shapes of --json
render/    the answers for people: tables, live views, progress

commands → client → proto → views → render → terminal
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
"""gRPC reads the variable at its import. By default gRPC writes to the terminal when a daemon ends during a call."""


def __getattr__(name: str) -> str:
    """Return `__version__`, which is read at the first use because that takes longer than the rest of `mpsctl --help`."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("kafka-mps")
    raise AttributeError(name)
