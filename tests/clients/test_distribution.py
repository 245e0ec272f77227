"""The client's wheel beside the daemon's, in one process, also with different versions."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())
DAEMON = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_it_is_generated_as_the_daemon_is_and_needs_no_more_than_grpc() -> None:
    needed = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    assert sorted(each.name for each in needed) == ["grpcio", "protobuf"]
    assert PROJECT["build-system"]["requires"] == DAEMON["build-system"]["requires"]
    assert {str(each) for each in needed} <= {str(Requirement(text)) for text in DAEMON["project"]["dependencies"]}


def test_its_messages_and_the_daemons_live_in_one_process() -> None:
    program = """
from mps.delivery.v1 import delivery_pb2 as theirs
from mps_client._stubs import delivery_pb2 as ours
assert theirs.DESCRIPTOR.name != ours.DESCRIPTOR.name and theirs.Record.DESCRIPTOR.full_name == "mps.delivery.v1.Record"
ours.Record.FromString(theirs.Record(delivery_id=1, key=b"k").SerializeToString()).key == b"k" or exit(1)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_daemon_of_another_version_lives_in_the_process_too(tmp_path: Path) -> None:
    proto = tmp_path / "delivery.proto"
    (tmp_path / "mps_client/_stubs").mkdir(parents=True)
    proto.write_text(
        (ROOT / "proto/mps/delivery/v1/delivery.proto").read_text() + "message Later { string word = 1; }\n"
    )
    build = f"""
import sys; sys.path.insert(0, "clients/python")
from pathlib import Path
import generate_stubs
generate_stubs.generate_stubs(Path({str(proto)!r}), Path({str(tmp_path)!r}))
sys.path.insert(0, {str(tmp_path / "mps_client/_stubs")!r})
from mps.delivery.v1 import delivery_pb2 as daemons
import delivery_pb2 as clients
assert clients.Later and not hasattr(daemons, "Later")
"""
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True)


def test_the_wheel_has_the_generated_code_and_nothing_of_the_daemon(tmp_path: Path) -> None:
    """Built from the source distribution, which has no proto."""
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), "clients/python"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("kafka_mps_client-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"mps_client/py.typed", "mps_client/_stubs/delivery_pb2.py", "mps_client/_stubs/delivery_pb2.pyi"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mps_client", "kafka_mps_client"}
