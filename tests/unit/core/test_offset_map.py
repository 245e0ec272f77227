"""The map of a commit comes back or is ignored for a reason, and whatever is read back, no record is skipped."""

import json
import re
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.incarnation import UNKNOWN, Incarnation
from mpsd.core.metadata_text import Packing, pack
from mpsd.core.offset_map import (
    EMPTY,
    NO_BOUND,
    PADDING,
    RESET_UNITS,
    Encoded,
    Ignored,
    MapSpace,
    OffsetMap,
    bound_of,
    decode,
    encode,
    is_of_former_topic,
    padded,
    split_reset,
    with_reset,
)
from mpsd.core.offset_tracker import Run, Snapshot, Spread
from mpsd.core.record import TopicPartition
from mpsd.core.run_codes import FIXED_BYTES, worst_bits

PAGE = Path(__file__).parents[3] / "docs/reference/offset-map.md"
HERE = TopicPartition("orders", 3)
ASCII, UTF16 = MapSpace(Packing.ASCII, 4096), MapSpace(Packing.UTF16, 4096)
FAR = 1 << 62
THIS = Incarnation(bytes(range(16)), "here")
FORMER = Incarnation(bytes(range(1, 17)), "here")
MIRRORED = Incarnation(bytes(range(1, 17)), "there")
ONLY_HERE, ONLY_THERE = Incarnation(cluster_id="here"), Incarnation(cluster_id="there")
SMALL = Snapshot(5, (Run(6, 9), Run(10, 11)), ((5, 2), (9, 1)))


def text_of(
    snapshot: Snapshot, space: MapSpace = ASCII, tp: TopicPartition = HERE, incarnation: Incarnation = THIS
) -> str:
    encoded = encode(snapshot, tp, space, incarnation)
    assert encoded[1:] == (0, 0)
    return encoded.text


def vectors() -> list[dict[str, Any]]:
    (found,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return list(json.loads(found))


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["says"])
def test_the_vectors_of_the_page(vector: dict[str, Any]) -> None:
    tp, base = TopicPartition(vector["topic"], vector["partition"]), vector["next_offset"]
    runs = tuple(Run(*run) for run in vector["finished"])
    attempts = tuple((offset, spent) for offset, spent in vector["attempts"])
    space = MapSpace(Packing(vector["packing"]), 4096)
    incarnation = Incarnation(bytes.fromhex(vector["topic_id"]), vector["cluster_id"])
    assert encode(Snapshot(base, runs, attempts), tp, space, incarnation) == Encoded(vector["metadata"], 0, 0)
    assert decode(vector["metadata"], tp, base, 0, FAR, incarnation) == OffsetMap(runs, attempts)


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["says"])
def test_the_older_version_is_read_whatever_the_topic_is(vector: dict[str, Any]) -> None:
    tp, base = TopicPartition(vector["topic"], vector["partition"]), vector["next_offset"]
    runs = tuple(Run(*run) for run in vector["finished"])
    snapshot = Snapshot(base, runs, tuple((offset, spent) for offset, spent in vector["attempts"]))
    text = encode(snapshot, tp, MapSpace(Packing(vector["packing"]), 4096)).text
    assert not text or text.startswith("mps1")
    assert decode(text, tp, base, 0, FAR, THIS) == OffsetMap(snapshot.runs, snapshot.attempts)
    assert bound_of(text) is None


def test_the_page_names_every_reason() -> None:
    for reason in Ignored:
        assert f"| `{reason.value}` |" in PAGE.read_text()
        assert reason.words


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    base = draw(st.integers(0, 1 << 40))
    lengths = draw(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), max_size=40))
    runs, at = [], base - draw(st.integers(0, 1))  # the first may begin at the base
    for before, length in lengths:
        start = max(base, at + before)
        runs.append(Run(start, start + length))
        at = start + length
    unfinished = [offset for offset in range(base, at) if not any(run.start <= offset < run.stop for run in runs)]
    failed = draw(st.sets(st.sampled_from([*unfinished, at + 1, at + 5]))) if runs else {base}
    return Snapshot(base, tuple(runs), tuple((offset, draw(st.integers(1, 1000))) for offset in sorted(failed)))


@given(snapshots(), st.sampled_from([ASCII, UTF16]), st.sampled_from([UNKNOWN, THIS, ONLY_HERE]))
def test_what_was_written_comes_back(snapshot: Snapshot, space: MapSpace, incarnation: Incarnation) -> None:
    text = text_of(snapshot, space, incarnation=incarnation)
    assert decode(text, HERE, snapshot.next_offset, 0, FAR) == OffsetMap(snapshot.runs, snapshot.attempts)


@given(snapshots(), st.sampled_from(Packing), st.integers(0, 240), st.sampled_from([UNKNOWN, THIS]))
def test_no_text_is_longer_than_the_space_and_what_is_left_is_true(
    snapshot: Snapshot, packing: Packing, units: int, incarnation: Incarnation
) -> None:
    text, attempts_left_out, offsets_left_out = encode(snapshot, HERE, MapSpace(packing, units), incarnation)
    assert len(text) <= units
    found = decode(text, HERE, snapshot.next_offset, 0, FAR)
    assert isinstance(found, OffsetMap)
    assert found.runs == snapshot.runs[: len(found.runs)]
    assert set(found.attempts) <= set(snapshot.attempts)
    assert len(found.attempts) == len(snapshot.attempts) - attempts_left_out
    assert sum(run.stop - run.start for run in snapshot.runs[len(found.runs) :]) == offsets_left_out


def test_the_lowest_attempts_are_left_out_first_and_of_equals_the_last() -> None:
    attempts = tuple((offset, 1 + (offset % 50 == 0)) for offset in range(1000))
    text, left_out, _ = encode(Snapshot(0, (), attempts), HERE, MapSpace(Packing.ASCII, 192))
    found = decode(text, HERE, 0, 0, FAR)
    assert isinstance(found, OffsetMap)
    twice = [(offset, spent) for offset, spent in attempts if spent == 2]
    once = [(offset, spent) for offset, spent in attempts if spent == 1]
    assert found.attempts == tuple(sorted(twice + once[: len(found.attempts) - len(twice)]))
    assert len(twice) < len(found.attempts) == 1000 - left_out < 1000


def test_runs_go_before_attempts() -> None:
    runs = tuple(Run(offset, offset + 1) for offset in range(1, 400, 2))
    text, left_out, _ = encode(
        Snapshot(0, runs, tuple((o, 9) for o in range(0, 400, 2))), HERE, ASCII._replace(units_max=160)
    )
    found = decode(text, HERE, 0, 0, FAR)
    assert isinstance(found, OffsetMap)
    assert found.runs == runs
    assert left_out == 200 - len(found.attempts) > 0


def test_where_not_all_runs_fit_the_lowest_do() -> None:
    random = Random(1)
    offsets = sorted(random.sample(range(1, 4000), 1500))
    runs = tuple(Run(offset, offset + 1) for offset, after in pairwise(offsets) if after > offset + 1)
    text, _, left_out = encode(Snapshot(0, runs, ()), HERE, MapSpace(Packing.ASCII, 332))
    found = decode(text, HERE, 0, 0, FAR)
    assert isinstance(found, OffsetMap)
    assert found.runs == runs[: len(runs) - left_out]
    assert 100 < left_out < len(runs) - 100
    assert 200 < len(text) <= 332


def test_where_hardly_anything_fits_there_is_no_map_and_no_bound() -> None:
    space = MapSpace(Packing.ASCII, 4096)
    while space.body_bytes:
        assert space.worst_bits_max < NO_BOUND
        space = space.halved()
    assert space.worst_bits_max == NO_BOUND
    assert encode(SMALL, HERE, space) == Encoded("", 2, 4)


@pytest.mark.parametrize("space", [ASCII, UTF16, MapSpace(Packing.ASCII, 160)])
def test_what_may_be_read_leaves_a_quarter_for_attempts(space: MapSpace) -> None:
    assert (FIXED_BYTES + space.worst_bits_max / 8) / space.body_bytes <= 0.85
    assert space.worst_bits_max >= 200


@pytest.mark.parametrize("stuck", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("space", [ASCII, UTF16])
def test_thirty_thousand_finished_offsets_behind_a_stuck_one_are_no_pressure(stuck: float, space: MapSpace) -> None:
    """A key with so much of the records is stuck, 64 are in flight, and as many as two fetches can still be read."""
    assert worst_bits(Spread(30_000, 1 + int(30_000 * stuck) + 64 + 1_000)) <= space.worst_bits_max


def test_no_text_is_an_empty_map() -> None:
    assert decode("", HERE, 5, 0, 100) is EMPTY
    assert encode(Snapshot(5, (), ()), HERE, ASCII) == Encoded("", 0, 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("foreign", Ignored.FOREIGN),
        ("mps", Ignored.FOREIGN),
        ("mps1", Ignored.FOREIGN),
        (" mps1aAA", Ignored.FOREIGN),
        ("mps3aAAebJoFTAQJkZGRkAA", Ignored.OTHER_VERSION),
        ("mps2aAAebJoFTAQJkZGRkAA", Ignored.TRUNCATED),
        ("mps01aAAebJoFTAQJkZGRkAA", Ignored.OTHER_VERSION),
        ("mps1zAAebJoFTAQJkZGRkAA", Ignored.DAMAGED),
        ("mps1aA", Ignored.DAMAGED),
        ("mps1a\u4e00", Ignored.DAMAGED),
        ("mps1a", Ignored.TRUNCATED),
        ("mps1aAAAA", Ignored.TRUNCATED),
    ],
)
def test_what_is_no_map_of_ours_is_ignored_and_named(text: str, why: Ignored) -> None:
    assert decode(text, HERE, 5, 0, 100) is why


@pytest.mark.parametrize("space", [ASCII, UTF16])
def test_a_text_that_was_cut_or_changed_anywhere_is_ignored(space: MapSpace) -> None:
    text = text_of(SMALL, space)
    for end in range(1, len(text)):
        assert isinstance(decode(text[:end], HERE, 5, 0, 100), Ignored)
    for at, character in enumerate(text):
        for change in (1, 2, 4, 8, 16, 32):
            changed = text[:at] + chr(ord(character) ^ change) + text[at + 1 :]
            assert isinstance(decode(changed, HERE, 5, 0, 100), Ignored), changed
    assert isinstance(decode(text + text[-1], HERE, 5, 0, 100), Ignored)


def test_a_map_of_another_commit_is_ignored() -> None:
    text = text_of(SMALL)
    assert decode(text, HERE, 6, 0, 100) is Ignored.DAMAGED
    assert decode(text, HERE, 4, 0, 100) is Ignored.DAMAGED
    assert decode(text, TopicPartition("orders", 4), 5, 0, 100) is Ignored.DAMAGED
    assert decode(text, TopicPartition("orders.copy", 3), 5, 0, 100) is Ignored.DAMAGED


def test_a_map_that_passes_the_end_of_the_log_is_of_another_log() -> None:
    text = text_of(Snapshot(5, (Run(6, 9),), ()))
    assert decode(text, HERE, 5, 0, 9) == OffsetMap((Run(6, 9),), ())
    assert decode(text, HERE, 5, 0, 8) is Ignored.BEYOND_LOG_END
    text = text_of(Snapshot(5, (), ((7, 1),)))
    assert decode(text, HERE, 5, 0, 8) == OffsetMap((), ((7, 1),))
    assert decode(text, HERE, 5, 0, 7) is Ignored.BEYOND_LOG_END


def test_what_the_log_no_longer_has_is_left_out() -> None:
    text = text_of(SMALL)
    assert decode(text, HERE, 5, 7, 100) == OffsetMap((Run(7, 9), Run(10, 11)), ((9, 1),))
    assert decode(text, HERE, 5, 9, 100) == OffsetMap((Run(10, 11),), ((9, 1),))
    assert decode(text, HERE, 5, 50, 100) == EMPTY


@pytest.mark.parametrize(
    ("written", "read", "why"),
    [
        (THIS, THIS, None),
        (FORMER, THIS, Ignored.OTHER_TOPIC),
        (MIRRORED, THIS, Ignored.OTHER_CLUSTER),
        (ONLY_THERE, THIS, Ignored.OTHER_CLUSTER),
        (ONLY_THERE, ONLY_HERE, Ignored.OTHER_CLUSTER),
        (MIRRORED, ONLY_HERE, Ignored.OTHER_CLUSTER),
        (ONLY_HERE, ONLY_HERE, None),
        (ONLY_HERE, THIS, None),  # the broker has learned of topic ids since then
        (THIS, ONLY_HERE, None),  # it has forgotten them
        (THIS._replace(cluster_id=""), THIS, None),
        (FORMER._replace(cluster_id=""), THIS, Ignored.OTHER_TOPIC),
        (THIS._replace(cluster_id="renamed"), THIS, None),  # the id is the topic's alone
        (UNKNOWN, THIS, None),
        (THIS, UNKNOWN, None),
    ],
)
@pytest.mark.parametrize("space", [ASCII, UTF16])
def test_a_map_of_another_incarnation_is_ignored(
    written: Incarnation, read: Incarnation, why: Ignored | None, space: MapSpace
) -> None:
    text = encode(SMALL, HERE, space, written).text
    assert decode(text, HERE, 5, 0, 100, read) == (why or OffsetMap(SMALL.runs, SMALL.attempts))
    assert is_of_former_topic(text, HERE, 5, read) == (why is Ignored.OTHER_TOPIC)
    assert is_of_former_topic(with_reset("0123abcd", text), HERE, 5, read) == (why is Ignored.OTHER_TOPIC)


def test_a_commit_that_has_nothing_else_to_say_says_of_which_topic_it_is() -> None:
    nothing = Snapshot(5, (), ())
    text = encode(nothing, HERE, ASCII, FORMER).text
    assert decode(text, HERE, 5, 0, 100, FORMER) == EMPTY
    assert is_of_former_topic(text, HERE, 5, THIS)
    assert bound_of(text) == (FORMER.topic_id, FORMER.cluster_tag)
    assert encode(nothing, HERE, MapSpace(Packing.ASCII, 60), FORMER).text == "", "no space, no map"


def test_only_an_intact_text_says_that_its_topic_was_deleted() -> None:
    """Else a commit that was changed by accident would make the whole topic be delivered again."""
    text = encode(SMALL, HERE, ASCII, FORMER).text
    assert not is_of_former_topic(text, HERE, 6, THIS)
    assert not is_of_former_topic(text, TopicPartition("orders", 4), 5, THIS)
    assert not is_of_former_topic(text[:-2] + "AB", HERE, 5, THIS)
    for other in ("", "bm90IG91cnM=", "mps9zzzz", "mps2a", "mps2xAAAA", "mps2a!", with_reset("0123abcd", "")):
        assert not is_of_former_topic(other, HERE, 5, THIS)
        assert bound_of(other) is None


def test_a_renamed_copy_is_said_to_be_of_the_other_cluster() -> None:
    text = encode(SMALL, HERE, ASCII, MIRRORED).text
    assert decode(text, TopicPartition("there.orders", 3), 77, 0, 100, THIS) is Ignored.OTHER_CLUSTER


def forged(body: bytes, packing: Packing = Packing.ASCII) -> str:
    """Return a text with a valid checksum, whatever its body."""
    bound = THIS.topic_id + THIS.cluster_tag
    data = len(body).to_bytes(2, "big") + crc32(b"orders/3@5\n" + bound + body).to_bytes(4, "big") + bound + body
    return f"mps2{'a' if packing is Packing.ASCII else 'u'}{pack(data, packing)}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x09\x00",  # an unknown code
        b"\x00",  # attempts are missing
        b"\x00\x00\x00",  # more than there should be
        b"\x00\x01\x00\x7f",  # the list of attempts is missing
        b"\x00\x01\x40\x7f\x00\x7f",  # a parameter out of range
        b"\x01\x01\x01\x03\x01\x00\xdf\x00\x7f",  # attempts of a finished one
    ],
)
def test_what_cannot_be_is_ignored_also_with_the_right_checksum(body: bytes) -> None:
    assert decode(forged(body), HERE, 5, 0, 100) is Ignored.MALFORMED


@given(st.binary(max_size=60), st.sampled_from(Packing))
def test_no_body_can_skip_what_is_below_the_base_or_beyond_the_end(body: bytes, packing: Packing) -> None:
    found = decode(forged(body, packing), HERE, 5, 7, 100)
    if isinstance(found, OffsetMap):
        for run in found.runs:
            assert 7 <= run.start < run.stop <= 100
        assert all(7 <= offset < 100 for offset, _ in found.attempts)


@given(st.text(max_size=60) | st.from_regex(r"mps[12][au][A-Za-z0-9+/\u4e00-\ucdff]{0,60}", fullmatch=True))
def test_any_text_is_empty_or_ignored(text: str) -> None:
    found = decode(text, HERE, 5, 0, 100)
    assert isinstance(found, Ignored) if text.rstrip(PADDING) else found is EMPTY


@given(snapshots(), st.sampled_from([ASCII, UTF16]), st.integers())
def test_a_text_changed_at_random_is_ignored(snapshot: Snapshot, space: MapSpace, seed: int) -> None:
    text, random = text_of(snapshot, space), Random(seed)
    for _ in range(10):
        at, kind = random.randrange(len(text) + 1), random.randrange(3)
        dead_letter = random.choice("AZaz09+/" + text)
        changed = text[:at] + (dead_letter if kind else "") + text[at + (kind != 1) :]
        if changed != text:
            assert isinstance(decode(changed, HERE, snapshot.next_offset, 0, FAR), Ignored) or not changed


def test_a_commit_may_name_a_reset_before_its_map_or_alone() -> None:
    space = MapSpace(Packing.ASCII, 200)
    text = with_reset("0123abcd", encode(SMALL, HERE, space.beside_reset("0123abcd")).text)
    assert len(text) <= 200
    assert split_reset(text)[0] == "0123abcd"
    found = decode(text, HERE, 5, 0, 100)
    assert isinstance(found, OffsetMap)
    assert found.runs == SMALL.runs
    alone = with_reset("0123abcd", "")
    assert len(alone) == RESET_UNITS
    assert decode(alone, HERE, 5, 0, 100) == OffsetMap((), ())


def test_a_commit_without_a_reset_is_as_ever() -> None:
    space = MapSpace(Packing.ASCII, 200)
    assert space.beside_reset("") is space
    assert with_reset("", "text") == "text"
    for text in ("", "mpsr0123abcd", "mpsr0123ABCD;", "xmpsr0123abcd;"):
        assert split_reset(text) == ("", text)


def test_a_padded_text_is_as_long_as_a_broker_may_take_and_reads_the_same() -> None:
    text = with_reset("0123abcd", text_of(SMALL))
    assert len(padded(text, 4096)) == 4096
    assert split_reset(padded(text, 4096)) == split_reset(text)
