"""Each guarantee, shown to hold and to break by tiny stories.

A story is words in the order of time, one second each. Offsets are digits; records share one key unless it is given
(`1:b`, `1:-` for none).

    p1 produced          1( delivery started     1) accepted          d1 dead letter          kill   a daemon
    c3 committed 3       1(2 … as attempt 2      1! failed, 500       d1=text … its reason    down   the endpoint
    e3 log ends at 3     1x rejected, 422        1? lost, no answer   d1* attempts-exhausted  up     again
"""

import re

import pytest

from mpsd.core.outcome import DELIVERED, Outcome, Rejected, Retryable, Unavailable
from mpsd.core.record import TopicPartition
from mpsd.demo.guarantees import (
    AttemptsSurvive,
    BoundedRepetition,
    CommitNeverPassesUnfinished,
    DeadLetterSaysWhy,
    EveryRecordSettled,
    FreedomIsUsed,
    Guarantee,
    GuaranteeBroken,
    Judge,
    KeyOrder,
    LagReachesZero,
    OneInFlightPerKey,
    OutageSpendsNoAttempts,
    every_guarantee,
)
from mpsd.demo.guarantees.events import (
    Committed,
    DaemonKilled,
    DeadLettered,
    DeliveryEnded,
    DeliveryStarted,
    Event,
    LogEnd,
    OutageBegan,
    OutageEnded,
    Produced,
    SeenRecord,
)

ORDERS = TopicPartition("orders", 0)
OUTCOMES: dict[str, Outcome] = {
    ")": DELIVERED,
    "!": Retryable(code="status_500", reason="failed", status=500),
    "?": Retryable(code="lost", reason="no answer", lost=True),
    "x": Rejected(code="status_422", reason="no such customer", status=422),
    "~": Unavailable(code="status_503", reason="later", status=503),
}
DELIVERY = re.compile(r"(?P<offset>\d+)(:(?P<key>[a-z-]))?(?P<what>[()!?x~])(?P<attempt>\d*)")
OTHER = re.compile(r"(?P<what>[pdce])(?P<number>\d+)(:(?P<key>[a-z-]))?(?P<exhausted>\*?)(=(?P<reason>.*))?")


def record(offset: str, key: str | None) -> SeenRecord:
    """Return a record of the story's one partition."""
    return SeenRecord("orders", 0, int(offset), None if key == "-" else (key or "a").encode())


def event(word: str, at_s: float) -> Event:
    """Return the event that a word of a story stands for."""
    match word:
        case "down":
            return OutageBegan(at_s)
        case "up":
            return OutageEnded(at_s)
        case "kill":
            return DaemonKilled(at_s)
        case _:
            pass
    if found := DELIVERY.fullmatch(word):
        about = record(found["offset"], found["key"])
        if found["what"] == "(":
            return DeliveryStarted(about, at_s, int(found["attempt"] or 1))
        return DeliveryEnded(about, at_s, OUTCOMES[found["what"]])
    found = OTHER.fullmatch(word)
    assert found, f"no such word in a story: {word}"
    match found["what"]:
        case "p":
            return Produced(record(found["number"], found["key"]))
        case "c":
            return Committed(ORDERS, int(found["number"]), at_s)
        case "e":
            return LogEnd(ORDERS, int(found["number"]))
        case _:
            disposition = "attempts-exhausted" if found["exhausted"] else "rejected"
            reason = "no such customer" if found["reason"] is None else found["reason"]
            return DeadLettered(record(found["number"], found["key"]), at_s, disposition, reason)


def told(guarantee: Guarantee, story: str) -> Guarantee:
    """Return the guarantee after the story."""
    Judge([guarantee]).see_all(event(word, float(at_s)) for at_s, word in enumerate(story.split()))
    return guarantee


@pytest.mark.parametrize(
    ("guarantee", "story"),
    [
        (EveryRecordSettled(), "p1 p2 1) d2"),
        (EveryRecordSettled(), "p1 1! 1? 1)"),
        (DeadLetterSaysWhy(), "1x d1"),
        (DeadLetterSaysWhy(), "1! d1*=timeout"),
        (KeyOrder(), "1) 2) 3)"),
        (KeyOrder(), "1) 2) 1) 3)"),
        (KeyOrder(), "1:a) 3:b) 2:a)"),
        (KeyOrder(), "3:-) 2:-)"),
        (KeyOrder(), "2) d1 1)"),
        (OneInFlightPerKey(), "1( 1) 2( 2)"),
        (OneInFlightPerKey(), "1( 1! 1( 1? 2( 2)"),
        (OneInFlightPerKey(), "1:a( 2:b( 1:a) 2:b)"),
        (OneInFlightPerKey(), "1:-( 2:-( 1:-) 2:-)"),
        (FreedomIsUsed(2), "1:a( 2:b( 2:b) 1:a)"),
        (FreedomIsUsed(3), "1:-( 2:-( 3:-( 1:-) 2:-) 3:-)"),
        (BoundedRepetition(), "1( 1! 1( 1) 2( 2)"),
        (BoundedRepetition(), "1( 1) 2( kill 2) 2( 2)"),
        (BoundedRepetition(commit_interval_s=3), "1( 1) kill 1( 1)"),
        (OutageSpendsNoAttempts(), "1(1 1! 1(2 1)"),
        (OutageSpendsNoAttempts(), "1(1 down 1? up 1(1 1)"),
        (OutageSpendsNoAttempts(), "1(1 1? 1(2 1)"),
        (OutageSpendsNoAttempts(), "1(1 1? 1(1 1)"),
        (OutageSpendsNoAttempts(), "1(1 1! d1*"),
        (AttemptsSurvive(), "1(1 1! 1(2 1! 1(3 1)"),
        (AttemptsSurvive(), "1(1 1? 1(1 1)"),
        (AttemptsSurvive(commit_interval_s=2), "1(1 1! kill 1(1 1)"),
        (CommitNeverPassesUnfinished(), "p1 p2 c1 1) 2) c3"),
        (CommitNeverPassesUnfinished(), "p1 p5 1) d5 c6"),
        (LagReachesZero(), "c3 c5 e5"),
        (LagReachesZero(), "e0"),
    ],
)
def test_holds(guarantee: Guarantee, story: str) -> None:
    told(guarantee, story).check()


@pytest.mark.parametrize(
    ("guarantee", "story", "fault"),
    [
        (EveryRecordSettled(), "p1 p2 1)", "orders/0@2 was neither accepted nor dead-lettered"),
        (EveryRecordSettled(), "p1 1x", "orders/0@1 was neither"),
        (DeadLetterSaysWhy(), "1x", "orders/0@1 was rejected and is not in the dead-letter topic"),
        (DeadLetterSaysWhy(), "1x d1=", "does not say why"),
        (DeadLetterSaysWhy(), "1x d1=bad_luck", "without the reason that the application gave"),
        (DeadLetterSaysWhy(), "1x d1 d1", "2 times"),
        (DeadLetterSaysWhy(), "1) d1*=timeout", "was accepted and dead-lettered"),
        (DeadLetterSaysWhy(), "1! d1", "never rejected it"),
        (KeyOrder(), "1) 3) 2)", "orders/0@2 was accepted only after orders/0@3 of its key"),
        (
            OneInFlightPerKey(),
            "1( 2( 2) 1)",
            "orders/0@2 began at 1.000000 s while orders/0@1 of its key was in flight",
        ),
        (OneInFlightPerKey(), "1( 1( 1) 1)", "orders/0@1 began at 1.000000 s while orders/0@1"),
        (FreedomIsUsed(2), "1:a( 1:a) 2:b( 2:b)", "no partition had more than 1 in flight at once; 2 were expected"),
        (BoundedRepetition(), "1( 1) 1( 1)", "orders/0@1 was accepted 2 times, 1 allowed"),
        (BoundedRepetition(commit_interval_s=2), "1( 1) 2( 2) kill 1( 1)", "orders/0@1 was accepted 2 times"),
        (BoundedRepetition(), "1( kill 1) 1( 1) 1( 1)", "orders/0@1 was accepted 3 times, 2 allowed"),
        (OutageSpendsNoAttempts(), "1(1 1! down up 1(4 1)", "orders/0@1 came as attempt 4 after 1 failures"),
        (OutageSpendsNoAttempts(), "1(1 down 1? up 1(2 1)", "orders/0@1 came as attempt 2 after 0 failures"),
        (OutageSpendsNoAttempts(), "p1 down up d1*", "never failed of its own"),
        (AttemptsSurvive(), "1(1 1! 1(1 1)", "orders/0@1 came as attempt 1 after 1 failures"),
        (AttemptsSurvive(commit_interval_s=2), "1(1 1! p2 p3 kill 1(1 1)", "came as attempt 1 after 1 failures"),
        (
            CommitNeverPassesUnfinished(),
            "p1 p2 p3 1) 3) c4 2)",
            "orders/0@2 was unfinished when 4 was committed at 5.000 s",
        ),
        (LagReachesZero(), "c3 e5", "orders/0 is committed up to 3, its log ends at 5"),
        (LagReachesZero(), "e5", "orders/0 is committed up to nothing, its log ends at 5"),
    ],
)
def test_breaks(guarantee: Guarantee, story: str, fault: str) -> None:
    with pytest.raises(GuaranteeBroken) as broken:
        told(guarantee, story).check()
    assert type(guarantee).__name__ in str(broken.value)
    assert fault in str(broken.value)


def test_a_judge_names_every_broken_guarantee() -> None:
    judge = Judge(every_guarantee())
    judge.see_all(
        event(word, float(at_s)) for at_s, word in enumerate(["p1", "p2", "1(", "2(", "2)", "1)", "c3", "e4"])
    )
    with pytest.raises(ExceptionGroup) as broken:
        judge.check()
    names = {type(verdict.guarantee).__name__ for verdict in judge.verdicts() if verdict.broken}
    assert names == {"KeyOrder", "OneInFlightPerKey", "LagReachesZero"}
    assert len(broken.value.exceptions) == 3


def test_every_guarantee_has_a_promise_and_a_picture() -> None:
    for guarantee in every_guarantee():
        picture = type(guarantee).__doc__ or ""
        assert guarantee.promise
        assert "Holds:" in picture
        assert "Breaks:" in picture


def test_many_faults_are_counted_and_a_few_are_named() -> None:
    with pytest.raises(GuaranteeBroken, match=r"orders/0@5 .*; and 3 more$"):
        told(EveryRecordSettled(), "p1 p2 p3 p4 p5 p6 p7 p8").check()


def test_no_fault_shows_a_key() -> None:
    with pytest.raises(GuaranteeBroken) as broken:
        told(KeyOrder(), "2:q) 1:q)").check()
    assert "q" not in str(broken.value).removeprefix("KeyOrder")
