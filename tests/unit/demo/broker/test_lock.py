"""The lock says which jars make a broker, and recognizes them."""

import hashlib
from pathlib import Path

import pytest

from mpsd.demo.broker.lock import Jar, packaged_lock, parse_lock, render_lock

CONTENT = b"classes"
JAR = Jar(
    group="org.example", artifact="thing", version="1.0", size_bytes=7, sha256=hashlib.sha256(CONTENT).hexdigest()
)


def test_what_was_rendered_is_parsed_again() -> None:
    assert parse_lock(render_lock(["org.example:thing:1.0"], [JAR])).jars == (JAR,)


def test_comments_and_empty_lines_do_not_change_the_digest() -> None:
    plain = render_lock([], [JAR]).splitlines()[1]
    assert parse_lock(f"# one\n\n{plain}\n# two\n").digest == parse_lock(plain).digest


@pytest.mark.parametrize(
    "line", ["", "abc 7 g:a:1", f"{JAR.sha256} seven g:a:1", f"{JAR.sha256} 7 g:a", f"{JAR.sha256} 7"]
)
def test_a_line_of_another_form_is_named(line: str) -> None:
    if not line:
        assert parse_lock(line).jars == ()
        return
    with pytest.raises(ValueError, match="not a line of a jar lock") as failure:
        parse_lock(line)
    assert repr(line) in str(failure.value)


@pytest.mark.parametrize(
    ("content", "has_size", "matches"),
    [(CONTENT, True, True), (b"CLASSES", True, False), (b"class", False, False), (None, False, False)],
)
def test_a_jar_is_known_by_size_and_by_hash(
    tmp_path: Path, content: bytes | None, has_size: bool, matches: bool
) -> None:
    file = tmp_path / JAR.file_name
    if content is not None:
        file.write_bytes(content)
    assert (JAR.has_size_of(file), JAR.matches(file)) == (has_size, matches)


def test_the_packaged_lock_is_a_kafka_new_enough() -> None:
    lock = packaged_lock()
    assert tuple(map(int, lock.kafka_version.split("."))) >= (4, 4, 0)
    assert len({jar.file_name for jar in lock.jars}) == len(lock.jars)
