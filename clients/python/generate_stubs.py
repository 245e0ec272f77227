"""The build step of the client: generated code for the one proto that it speaks.

The messages get a package of their own, `mps_client.stubs`: a process has one registry of messages, and it refuses two
files that define the same names differently. So the client and the daemon may be of different versions in one
environment. On the wire nothing changes, as the name of a package is not sent.
"""

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).parent
PROTO = HERE.parents[1] / "proto/mps/delivery/v1/delivery.proto"
STUBS = Path("mps_client/_stubs")
PACKAGE, OWN_PACKAGE = "package mps.delivery.v1;", "package mps_client.stubs;"


def generate_stubs(proto: Path = PROTO, root: Path = HERE) -> None:
    """Write the stubs of the proto below `root`.

    Raises:
        subprocess.CalledProcessError: the proto is wrong; the compiler has said where on standard error.
        ValueError: the proto has another package than the one that is replaced.
    """
    text = proto.read_text(encoding="utf-8")
    if text.count(PACKAGE) != 1:
        raise ValueError(f"{proto} has no line {PACKAGE!r}")
    with TemporaryDirectory() as directory:
        copy = Path(directory) / STUBS / proto.name
        copy.parent.mkdir(parents=True)
        copy.write_text(text.replace(PACKAGE, OWN_PACKAGE), encoding="utf-8")
        outputs = [f"--python_out={root}", f"--mypy_out=quiet:{root}"]
        compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{directory}", _plugin(), *outputs, str(copy)]
        subprocess.run(compiler, check=True)  # noqa: S603 - our own proto


def _plugin() -> str:
    """Return the path of mypy-protobuf's program, which is on PATH neither in an isolated build nor without `activate`."""
    (program,) = [
        file.locate() for file in distribution("mypy-protobuf").files or () if Path(file.name).stem == "protoc-gen-mypy"
    ]
    return f"--plugin=protoc-gen-mypy={Path(str(program)).resolve()}"


class StubsHook(BuildHookInterface[Any]):
    """Called by hatchling before it collects the files; a source distribution has the stubs, and not the proto."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # type: ignore[explicit-override]
        if PROTO.is_file():
            generate_stubs()


if __name__ == "__main__":
    generate_stubs()
