"""Values parsed from arguments."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from mpsctl import parse


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172_800), ("0.5h", 1800), ("500ms", 0.5)]
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "per_s"), [("200/s", 200), ("200", 200), ("12/m", 0.2), ("none", 0), ("3600/h", 1)])
def test_a_rate(text: str, per_s: float) -> None:
    assert parse.rate(text) == pytest.approx(per_s)


@pytest.mark.parametrize("text", ["", "5", "m", "-3s", "1x", "3s ago"])
def test_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="90s, 30m"):
        parse.duration(text)


@pytest.mark.parametrize("text", ["", "/s", "-1", "1/d", "1e9", "2000000/s", "0.0001/s", "0", "0/s", "0.0/m"])
def test_no_rate(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse.rate(text)


def test_a_time_is_long_ago_or_said_in_full() -> None:
    assert datetime.now(UTC) - parse.moment("2h") - timedelta(hours=2) < timedelta(minutes=1)
    assert parse.moment("2026-01-02T03:04:05Z") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert parse.moment("2026-01-02T03:04:05+02:00") == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert parse.moment("2026-01-02T03:04").astimezone().hour == 3


@pytest.mark.parametrize("text", ["", "soon", "2999-01-01T00:00:00Z", "99999999d", "2026-13-01"])
def test_no_time(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse.moment(text)


def test_records_and_partitions() -> None:
    assert parse.record("my.topic-1/3@1842") == ("my.topic-1", 3, 1842)
    assert parse.offsets("a/0@1, b/1@2") == [("a", 0, 1), ("b", 1, 2)]
    assert parse.partition("3") == (None, 3)
    assert parse.partition("orders/3") == ("orders", 3)


@pytest.mark.parametrize("text", ["orders", "orders/3", "orders@3", "a/-1@2", f"a/{2**31}@0", f"a/0@{2**63}", "ü/0@1"])
def test_no_record(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse.record(text)


def test_a_key_is_any_bytes() -> None:
    assert parse.key(None, None) is None
    assert parse.key("", None) == b""
    assert parse.key("é", None) == "é".encode()
    assert parse.key(None, "/wA=") == b"\xff\x00"
    for text, base64 in ((None, "no base64"), ("a", "YQ=="), ("x" * 65_537, None)):
        with pytest.raises(typer.BadParameter):
            parse.key(text, base64)


def test_a_reason_is_short_and_said() -> None:
    assert parse.reason("  why ") == "why"
    for text in ("", "   ", "é" * 513, "x" * (1 << 20)):
        with pytest.raises(typer.BadParameter):
            parse.reason(text)
