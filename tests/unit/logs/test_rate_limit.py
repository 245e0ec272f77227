"""The rate limit of lines, as small stories on a clock of their own."""

import logging

from mpsd.logs.rate_limit import CAUSES_MAX, FOREIGN_LINES_MAX, LINES_MAX, WINDOW_S, RateLimit


def event(
    message: str, logger: str = "mpsd.delivery", level: int = logging.WARNING, **extra: object
) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": logger, "levelno": level, "levelname": logging.getLevelName(level), "msg": message} | extra
    )


def written(limit: RateLimit, records: list[logging.LogRecord], now_s: float = 0.0) -> list[str]:
    return [line.getMessage() for record in records for line in limit.admit(record, now_s)]


def test_a_few_lines_of_one_cause_then_none() -> None:
    limit = RateLimit()
    assert len(written(limit, [event(f"timed out {n}", code="delivery.timeout") for n in range(100)])) == LINES_MAX
    assert limit.suppressed == 100 - LINES_MAX


def test_an_operators_change_is_written_however_many_there_are() -> None:
    limit = RateLimit()
    changes = [event("Pause by anna: pause of billing (deploy)", logger="mpsd.control", code="control.changed")] * 50
    assert len(written(limit, changes)) == 50
    assert limit.suppressed == 0


def test_the_same_text_again_is_left_out_at_once() -> None:
    limit = RateLimit()
    assert written(limit, [event("no broker", code="kafka.unavailable")] * 5) == ["no broker"]
    assert written(limit, [event("no leader", code="kafka.unavailable")]) == ["no leader"]
    assert limit.suppressed == 4


def test_after_the_window_the_count_comes_with_the_next_line_of_any_cause() -> None:
    limit = RateLimit()
    written(limit, [event("timed out", code="delivery.timeout", subscription="billing")] * 124)
    lines = list(limit.admit(event("committed", logger="mpsd.pipeline"), WINDOW_S))
    assert [line.getMessage() for line in lines] == ["… 123 more in the last 60 s like: timed out", "committed"]
    count = vars(lines[0])
    assert (count["code"], count["subscription"], count["left_out"]) == ("delivery.timeout", "billing", 123)


def test_a_new_window_is_a_new_budget() -> None:
    limit = RateLimit()
    written(limit, [event("timed out", code="t")] * 50)
    assert written(limit, [event("timed out", code="t")], WINDOW_S) == [
        "… 49 more in the last 60 s like: timed out",
        "timed out",
    ]


def test_nothing_left_out_is_nothing_to_say() -> None:
    limit = RateLimit()
    written(limit, [event("once")])
    assert list(limit.due(WINDOW_S)) == []


def test_another_code_or_subscription_is_another_cause() -> None:
    limit = RateLimit()
    written(limit, [event("x", code="a", subscription="s")] * 50)
    others = [event("x", code="b", subscription="s"), event("x", code="a", subscription="t")]
    assert written(limit, others) == ["x", "x"]


def test_without_a_code_the_template_is_the_cause() -> None:
    limit = RateLimit()
    records = [event("joined %s", args=(str(n),)) for n in range(50)]
    assert len(written(limit, records)) == LINES_MAX
    assert written(limit, [event("left %s", args=("1",))]) == ["left 1"]


def test_another_library_is_one_cause_per_level() -> None:
    limit = RateLimit()
    records = [event(f"node {n} is gone", logger=f"aiokafka.{n}", level=logging.ERROR) for n in range(50)]
    assert len(written(limit, records)) == FOREIGN_LINES_MAX
    assert written(limit, [event("odd", logger="aiokafka.client")]) == ["odd"]


def test_what_is_critical_is_never_left_out() -> None:
    assert len(written(RateLimit(), [event("lost", level=logging.CRITICAL)] * 50)) == 50


def test_causes_are_bounded_and_the_one_longest_unused_is_told_before_it_is_forgotten() -> None:
    limit = RateLimit()
    written(limit, [event("first", code="first")] * 3)
    lines = written(limit, [event("x", code=f"c{n}") for n in range(CAUSES_MAX)], 1.0)
    assert len(lines) == CAUSES_MAX + 1
    assert "… 2 more in the last 1 s like: first" in lines
    assert repr(limit) == f"<RateLimit causes={CAUSES_MAX} suppressed=2>"


def test_at_the_end_every_count_is_told() -> None:
    limit = RateLimit()
    written(limit, [event("a", code="a")] * 2 + [event("b", code="b")] * 3)
    assert [line.getMessage() for line in limit.rest(3.0)] == [
        "… 1 more in the last 3 s like: a",
        "… 2 more in the last 3 s like: b",
    ]
