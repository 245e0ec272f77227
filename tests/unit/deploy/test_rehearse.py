"""A Dockerfile that is broken is found without a container engine."""

from pathlib import Path

import pytest

from deploy import rehearse
from deploy.rehearse import Broken, Image, instructions

SHIPPED = Path(rehearse.__file__).with_name("Dockerfile")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearse in a folder of the test, on base images without a Python, which takes seconds to make."""
    monkeypatch.setattr("venv.create", lambda folder, **_: folder.mkdir(parents=True))
    monkeypatch.setattr(rehearse, "IMAGE", tmp_path / "image")
    monkeypatch.setattr(rehearse, "ROOT", tmp_path / "image/root")
    monkeypatch.setattr(rehearse, "PROJECT", tmp_path)


def image_of(text: str, folder: Path) -> Image:
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(text)
    return rehearse.rehearse(dockerfile)


def test_lines_are_continued_and_comments_are_left_out() -> None:
    text = "# one\nFROM a AS b\nRUN c \\\n    && d\n\n# two\nCMD []\n"
    assert list(instructions(text)) == [("FROM", "a AS b"), ("RUN", "c && d"), ("CMD", "[]")]


def test_a_file_of_one_stage_reaches_the_next_and_the_last_stage_is_the_image(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("hello")
    image = image_of(
        "FROM base AS first\nARG ROOT=\nCOPY word ${ROOT}/src/\nRUN cp $ROOT/src/word $ROOT/usr/copied\nUSER 1\n"
        "FROM base\nARG ROOT=\nCOPY --from=first ${ROOT}/usr/copied ${ROOT}/usr\nENV A=1 B=2\nUSER 2:2\nSTOPSIGNAL SIGTERM\n"
        'HEALTHCHECK --interval=1s CMD ["true"]\nCMD ["false"]\n',
        tmp_path,
    )
    assert (tmp_path / "image/root/usr/copied").read_text() == "hello"
    assert not (tmp_path / "image/root/src").exists()
    assert (image.user, image.stop_signal, image.health, image.command) == ("2:2", "SIGTERM", ["true"], ["false"])
    assert image.environment.items() >= {"A": "1", "B": "2"}.items()


@pytest.mark.parametrize("line", ["RUN false", "COPY missing /x", "MAINTAINER me", "CMD not json", "ENV novalue"])
def test_a_line_that_is_broken_is_named(line: str, tmp_path: Path) -> None:
    with pytest.raises(Broken, match=f"Dockerfile: {line[:12]}"):
        image_of(f"FROM base\n{line}\n", tmp_path)


def test_the_image_has_no_root_and_ends_by_the_signal_that_the_daemon_waits_for() -> None:
    found = dict(instructions(SHIPPED.read_text()))
    assert found["USER"].split(":")[0] not in {"0", "root"}
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert "--require-hashes" in SHIPPED.read_text()
