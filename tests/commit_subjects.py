"""The form of a commit's subject: `area: imperative verb and object`, in at most 72 characters.

As a command, `python -m tests.commit_subjects FILE`, it is the hook that reads the message which git is about to commit.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHARACTERS_MAX = 72
BASE = "5de2beac50b0f8aed17ee37c6e57199ac6299fe8"
"""The last commit before this rule was held: the history up to here keeps the subjects that it has."""
FORM = re.compile(r"(?P<area>[a-z][\w ,./-]*): (?P<verb>[a-z][\w-]*) \S.*(?<![.\s])")
INFLECTED = re.compile(r"[aeiouy]\w*(?:[^e]ed|ing)|\w*[^su]s")
"""A verb that reports or describes ("added", "adding", "adds") instead of commanding."""


def wrong(subject: str) -> str:
    """Return what is wrong with a commit's subject, or an empty text."""
    form = FORM.fullmatch(subject)
    if form is None:
        return 'its form is not "area: verb and object", in lower case and without a full stop'
    if INFLECTED.fullmatch(form["verb"]):
        return f'"{form["verb"]}" is not an imperative'
    if len(subject) > CHARACTERS_MAX:
        return f"it has {len(subject)} characters, and at most {CHARACTERS_MAX} are shown everywhere"
    return ""


def subjects() -> list[str]:
    """Return the subjects of the commits since BASE, without merges and those of bots.

    In a shallow clone, which does not have BASE, that is the newest commit alone.
    """
    known = subprocess.run(["git", "cat-file", "-e", f"{BASE}^{{commit}}"], cwd=ROOT, check=False, capture_output=True)
    since = ["-1"] if known.returncode else [f"{BASE}..HEAD"]
    log = ["git", "log", "--no-merges", "--format=%an%x00%s", *since]
    lines = subprocess.run(log, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [subject for author, _, subject in (line.partition("\0") for line in lines) if not author.endswith("[bot]")]


def main(message: str) -> int:
    """Print what is wrong with the subject of a message in a file, and return 1 if something is."""
    subject = next((line for line in Path(message).read_text(encoding="utf-8").splitlines() if line.strip()), "")
    complaint = wrong(subject)
    if complaint:
        print(f"commit subject {subject!r}: {complaint}; see CONTRIBUTING.md")
    return 1 if complaint else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
