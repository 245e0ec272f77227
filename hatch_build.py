"""The build step: generated code for everything in `proto/`.

`generate_stubs()` serves the wheel's build hook, `make proto` and CI alike. The stubs lie beside the protos they come
from (the proto path is the Python path, so their imports need no rewriting) and are never committed.
"""

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTO_ROOT = Path(__file__).parent / "proto"


def generate_stubs(root: Path = PROTO_ROOT) -> list[Path]:
    """Write the stubs of every proto below `root`, and remove those whose proto is gone.

    Raises:
        subprocess.CalledProcessError: a proto is wrong; the compiler has said where on standard error.
    """
    protos = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.proto"))
    outputs = ["--python_out=.", "--grpc_python_out=.", "--mypy_out=quiet:.", "--mypy_grpc_out=quiet:."]
    for stale in _stubs(root):
        stale.unlink()
    compiler = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *_plugins(), *outputs, *protos]
    subprocess.run(compiler, cwd=root, check=True)  # noqa: S603 - our own protos
    return _stubs(root)


def _stubs(root: Path) -> list[Path]:
    return sorted([*root.rglob("*_pb2*.py"), *root.rglob("*_pb2*.pyi")])


def _plugins() -> list[str]:
    """Return the paths of mypy-protobuf's programs, which are on PATH neither in an isolated build nor without `activate`."""
    programs = [
        file.locate() for file in distribution("mypy-protobuf").files or () if file.name.startswith("protoc-gen-")
    ]
    return [f"--plugin={Path(program).stem}={Path(program).resolve()}" for program in programs]


class StubsHook(BuildHookInterface[Any]):
    """Called by hatchling before it collects the files of a wheel or of an editable install."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # type: ignore[explicit-override]
        generate_stubs(Path(self.root) / "proto")
        if version != "editable":  # a clone has the demo's application among the examples
            build_data["force_include"]["examples/orders/application.py"] = "mpsd/demo/application.py"


if __name__ == "__main__":
    generate_stubs()
