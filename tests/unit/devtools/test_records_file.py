"""A file that people write by hand: what it may hold, and what is said where it cannot be used."""

from pathlib import Path

import pytest

from mpsd.devtools.records_file import RecordsFileError, parse_records, read_records
from mpsd.kafka.topics import Message


def test_all_that_a_line_may_hold() -> None:
    lines = [
        "# orders",
        "",
        '{"key": "k1", "value": {"order": 1}, "headers": {"content-type": "application/json"}}',
        '{"value": "plain"}',
        '{"key": null, "value": null}',
        '{"key_base64": "AP8=", "value_base64": "", "headers": [["a", "1"], ["a", 2]]}',
        '{"key": 7, "value": "é"}',
    ]
    assert parse_records(lines, "f") == [
        Message(b"k1", b'{"order": 1}', [("content-type", b"application/json")]),
        Message(None, b"plain", []),
        Message(None, None, []),
        Message(b"\x00\xff", b"", [("a", b"1"), ("a", b"2")]),
        Message(b"7", "é".encode(), []),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "f, line 2: "),
        ("[]", "line 2: not a JSON object"),
        ('{"key": "k"}', 'no "value"; write null for a tombstone'),
        ('{"kye": "k", "value": 1}', "'kye' is not known; a record has key, key_base64"),
        ('{"value_base64": "%"}', '"value_base64" is not base64'),
        ('{"value_base64": 1}', '"value_base64" must be a text'),
        ('{"value": "a", "value_base64": "AA=="}', "exclude each other"),
        ('{"value": 1, "headers": ["a"]}', '"headers" must be an object'),
        ('{"value": 1, "headers": 3}', '"headers" must be an object'),
    ],
)
def test_a_line_that_is_no_record_is_named(line: str, said: str) -> None:
    with pytest.raises(RecordsFileError, match="line 2") as raised:
        parse_records(["", line], "f")
    assert said in str(raised.value)


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordsFileError, match="No such file"):
        read_records(tmp_path / "no.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("# nothing\n")
    with pytest.raises(RecordsFileError, match=r"no records; a line is, for example"):
        read_records(empty)
    empty.write_bytes(b"\xff")
    with pytest.raises(RecordsFileError, match="not UTF-8"):
        read_records(empty)
