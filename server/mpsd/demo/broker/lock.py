"""The jars that make a Kafka broker, each with its size and SHA-256: `jars.lock`, in the package and so in the wheel.

`python -m mpsd.demo.broker.lock org.apache.kafka:kafka_2.13:4.4.0 org.slf4j:slf4j-simple:1.7.36 > jars.lock` writes it
anew for another version; log4j-core must not be among the roots, since its bill of materials forces old Kafka clients.
"""

import hashlib
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """One file of Maven Central, by coordinate and content."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def has_size_of(self, file: Path) -> bool:
        """Return True if the file exists with the locked size: the cheap check of every start."""
        try:
            return file.stat().st_size == self.size_bytes
        except FileNotFoundError:
            return False

    def matches(self, file: Path) -> bool:
        """Return True if the file's content is the locked one: the full check, when a cache is filled."""
        return self.has_size_of(file) and sha256_of(file) == self.sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """All jars of one broker version, in class path order."""

    jars: tuple[Jar, ...]
    digest: str
    """Names the content: two locks with the same jars have the same."""

    @property
    def kafka_version(self) -> str:
        return next(jar.version for jar in self.jars if jar.artifact == "kafka-server")

    @property
    def size_bytes(self) -> int:
        return sum(jar.size_bytes for jar in self.jars)


def parse_lock(text: str) -> Lock:
    """Read `SHA256 SIZE GROUP:ARTIFACT:VERSION` lines; empty lines and lines that begin with `#` are comments.

    Raises:
        ValueError: a line is not of that form; the message names it.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return Lock(jars=tuple(_parse_line(line) for line in lines), digest=digest)


def _parse_line(line: str) -> Jar:
    try:
        sha256, size, coordinate = line.split()
        group, artifact, version = coordinate.split(":")
        if len(bytes.fromhex(sha256)) != hashlib.sha256().digest_size:
            raise ValueError(line)
        return Jar(group=group, artifact=artifact, version=version, size_bytes=int(size), sha256=sha256)
    except ValueError:
        raise ValueError(f"not a line of a jar lock: {line!r}") from None


def packaged_lock() -> Lock:
    return parse_lock(resources.files(__package__).joinpath("jars.lock").read_text(encoding="utf-8"))


def sha256_of(file: Path) -> str:
    content = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_READ_BYTES):
            content.update(chunk)
    return content.hexdigest()


def render_lock(roots: Sequence[str], jars: Iterable[Jar]) -> str:
    """Return the text that `parse_lock` reads, sorted, so that a new version shows as a small difference."""
    lines = [f"{jar.sha256} {jar.size_bytes:>9} {jar.group}:{jar.artifact}:{jar.version}" for jar in jars]
    header = f"# Written by: python -m {__package__}.lock {' '.join(roots)}\n"
    return header + "\n".join(sorted(lines, key=lambda line: line.split()[2])) + "\n"


def resolve(roots: Sequence[str]) -> list[Jar]:
    """Asks Maven Central what `roots` need at run time, downloads it to a throw-away directory and hashes it."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - of the extra, and slow to import

    with tempfile.TemporaryDirectory() as directory:
        maven = MavenContext(repo_cache=Path(directory), timeout=60)
        wanted = [maven.create_dependency(root) for root in roots]
        inputs, transitive = maven.resolver.resolve(wanted)
        artifacts = {
            d.artifact.key: d.artifact for d in [*inputs, *transitive] if d.scope in {None, "compile", "runtime"}
        }
        return [
            Jar(
                group=artifact.groupId,
                artifact=artifact.artifactId,
                version=artifact.version,
                size_bytes=(file := artifact.resolve()).stat().st_size,
                sha256=sha256_of(file),
            )
            for artifact in artifacts.values()
        ]


if __name__ == "__main__":
    sys.stdout.write(render_lock(sys.argv[1:], resolve(sys.argv[1:])))
