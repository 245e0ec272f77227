"""A formatted data directory for each node, without a JVM run for each.

`StorageTool format` takes a second and leaves two files: a checkpoint of the metadata log, the same for every cluster of one
Kafka version, and `meta.properties`, four lines of identity. So it runs once, when the cache is made, and its
checkpoint is copied. SCRAM users stand in the checkpoint: a cluster that has some runs the tool for itself.
"""

import base64
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from mpsd.demo.broker.distribution import Distribution
from mpsd.demo.broker.errors import BrokerFailed
from mpsd.demo.broker.processes import GuardedProcesses
from mpsd.demo.broker.properties import ClientListener, NodePorts, node_properties, render

_CHECKPOINT = Path("__cluster_metadata-0", "00000000000000000000-0000000000.checkpoint")
_FORMAT_TIMEOUT_S = 60.0


def random_id() -> str:
    """Return an id in Kafka's form; it does not begin with a dash, which would look like an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def write_formatted(log_dir: Path, *, node: int, cluster_id: str, checkpoint: Path) -> None:
    """Write the files that `StorageTool format` would have left in `log_dir`."""
    target = log_dir / _CHECKPOINT
    target.parent.mkdir(parents=True)
    shutil.copyfile(checkpoint, target)
    identity = {"version": "1", "cluster.id": cluster_id, "node.id": str(node), "directory.id": random_id()}
    (log_dir / "meta.properties").write_text(render(identity), encoding="utf-8")


def format_checkpoint(distribution: Distribution, processes: GuardedProcesses, arguments: Sequence[str] = ()) -> Path:
    """Run the tool and return the checkpoint it wrote, below the processes' directory.

    Raises:
        BrokerFailed: the tool failed; the message has its output.
    """
    directory = processes.directory / "format"
    log_dir, settings, output = directory / "data", directory / "server.properties", directory / "log"
    directory.mkdir()
    ports = {1: NodePorts(client=1, internal=2, controller=3)}  # only read, never bound
    properties = node_properties(1, ports=ports, log_dir=log_dir, listener=ClientListener(), overrides={})
    settings.write_text(render(properties), encoding="utf-8")
    tool = ["format", "--cluster-id", random_id(), "--config", str(settings), *arguments]
    processes.start("format", distribution.command("kafka.tools.StorageTool", tool), log=output)
    if (code := processes.wait("format", _FORMAT_TIMEOUT_S)) != 0:
        raise BrokerFailed(f"formatting the storage ended with {code}:\n{output.read_text(errors='replace')}")
    return log_dir / _CHECKPOINT
