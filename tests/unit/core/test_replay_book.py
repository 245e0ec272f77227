from dataclasses import replace

from mpsd.core.control import Entity, EntityKey, Provenance
from mpsd.core.offset_set import OffsetSet
from mpsd.core.offset_tracker import Run
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay import ReplayState
from mpsd.core.replay_book import ReplayBook
from mpsd.core.replay_progress import REPLAYED, Counts, Progress, progress_key, replayed, replayed_key
from tests.unit.core.test_replay import TASK

NOBODY = Provenance("", "", 0, "", "")
SOURCE = TopicPartition("orders", 2)
REPORT = Progress(epoch=2, next_offset=5, map_text="", counts=Counts(succeeded=1), done=False)


def entity(document: object) -> Entity:
    assert isinstance(document, dict)
    return Entity(document=document, revision=4, provenance=NOBODY)


def book() -> ReplayBook:
    made = ReplayBook("g", "billing")
    assert made.on_entity(TASK.key, entity(TASK.document()))
    return made


def test_tasks_run_in_the_order_in_which_they_were_started() -> None:
    made = book()
    assert made.running() == []
    for name, at_ms in (("b", 2), ("a", 2), ("c", 1)):
        task = replace(TASK, id=name, started_at_ms=at_ms, state=ReplayState.RUNNING)
        made.on_entity(task.key, entity(task.document()))
    assert [task.id for task in made.running()] == ["c", "a", "b"]
    assert repr(made) == "<ReplayBook billing tasks=4 running=3>"


def test_what_is_of_others_or_no_task_is_passed_over() -> None:
    made = book()
    others: list[EntityKey] = [
        ("other", "replay", "billing", "x"),
        ("g", "replay", "audit", "x"),
        ("g", "pause", "billing", "x"),
        ("g", "replay-progress", "billing", "r1", "orders", "many"),
        ("g", "replayed", "billing", "orders", "2", "x"),
    ]
    for key in others:
        assert not made.on_entity(key, entity(TASK.document()))
    assert not made.on_entity(TASK.key, entity({}))
    assert list(made.tasks) == ["r1"]
    assert not made.on_entity(progress_key(TASK, SOURCE), entity({}))
    assert not made.on_entity(replayed_key(TASK.group, TASK.subscription, SOURCE, 0), entity({}))
    assert made.reported("r1") == []


def test_a_task_that_is_gone_takes_its_reports_along() -> None:
    made = book()
    made.on_entity(progress_key(TASK, SOURCE), entity(REPORT.document()))
    assert made.reported("r1") == [SOURCE]
    assert made.on_entity(TASK.key, None)
    assert not made.on_entity(TASK.key, None)
    assert made.report("r1", SOURCE) is None


def test_an_older_owner_never_overrides_a_newer_one() -> None:
    made = book()
    made.on_entity(progress_key(TASK, SOURCE), entity(REPORT.document()))
    made.on_entity(progress_key(TASK, SOURCE), entity(replace(REPORT, epoch=1, next_offset=8).document()))
    assert made.report("r1", SOURCE) == REPORT
    assert made.overridden == {("r1", SOURCE)}
    newer = replace(REPORT, epoch=3, next_offset=4)
    made.on_entity(progress_key(TASK, SOURCE), entity(newer.document()))
    assert made.report("r1", SOURCE) == newer
    made.on_entity(progress_key(TASK, SOURCE), None)
    assert made.report("r1", SOURCE) is None


def test_an_own_report_that_is_read_back_late_undoes_nothing() -> None:
    made = book()
    later = replace(REPORT, counts=Counts(succeeded=2))
    made.see_report("r1", SOURCE, later)
    made.see_report("r1", SOURCE, REPORT)
    assert made.report("r1", SOURCE) == later
    assert not made.overridden
    assert made.total(TASK).counts.succeeded == 2


def test_what_is_settled_is_handed_out_as_the_taker_s_own() -> None:
    made, place = book(), (SOURCE, 0)
    key, document = (
        replayed_key(TASK.group, TASK.subscription, SOURCE, 0),
        replayed(OffsetSet(3, [Run(4, 6)]), 1),
    )
    assert made.settled(place).runs == []
    made.on_entity(key, entity(REPLAYED.document(document)))
    assert made.settled_bytes[place] == len(document.offsets)
    made.settled(place).add(8)
    assert [offset for offset in range(9) if made.is_settled(0, offset)] == [4, 5]
    assert not made.is_settled(1, 4)
    assert made.settled(place).runs == [Run(4, 6)]
    later = replayed(OffsetSet(3, [Run(4, 7)]), 1)
    made.see_settled(place, later)
    assert made.is_settled(0, 6), "and what was looked up before does not count any more"
    made.on_entity(key, entity({**REPLAYED.document(document), "offsets": "?"}))
    assert not made.is_settled(0, 4), "what cannot be read is offered again"
    made.on_entity(key, None)
    assert not made.is_settled(0, 4)
    assert made.settled(place).runs == []
    assert place not in made.settled_bytes


def test_what_was_settled_of_another_topic_means_nothing() -> None:
    made, place = book(), (SOURCE, 0)
    key = replayed_key(TASK.group, TASK.subscription, SOURCE, 0)
    made.on_entity(key, entity(REPLAYED.document(replayed(OffsetSet(0, [Run(3, 5)], "a"), 1))))
    assert made.is_settled(0, 3), "nobody knows which topic there is"
    made.see_topic("b")
    assert not made.is_settled(0, 3)
    assert (made.settled(place).runs, made.settled(place).topic_id) == ([], "b")
    assert made.settled(place, "a").runs == [Run(3, 5)]
    made.see_topic("")
    assert not made.is_settled(0, 3), "an answer without an id says nothing new"
    made.see_topic("a")
    assert made.is_settled(0, 3)
    made.on_entity(key, entity(REPLAYED.document(replayed(OffsetSet(0, [Run(3, 5)]), 1))))
    assert made.settled(place).topic_id == "a", "of before there were ids: it is taken for the present one"


def test_what_a_former_owner_settled_late_undoes_nothing_and_is_not_lost() -> None:
    made, place = book(), (SOURCE, 0)
    key = replayed_key(TASK.group, TASK.subscription, SOURCE, 0)
    made.on_entity(key, entity(REPLAYED.document(replayed(OffsetSet(0, [Run(3, 5)]), 2))))
    made.on_entity(key, entity(REPLAYED.document(replayed(OffsetSet(0, [Run(1, 2)]), 1))))
    made.on_entity(key, entity({"epoch": 1, "base": 0, "offsets": "?"}))
    made.on_entity(key, entity({}))
    assert made.settled(place).runs == [Run(1, 2), Run(3, 5)]
    made.on_entity(key, entity(REPLAYED.document(replayed(OffsetSet(0, [Run(3, 6)]), 1))))
    assert made.settled(place).runs == [Run(1, 2), Run(3, 6)], "it is still of a former owner"
    made.on_entity(key, entity(REPLAYED.document(replayed(OffsetSet(0, [Run(9, 10)]), 2))))
    assert made.settled(place).runs == [Run(9, 10)], "the owner knows best"
    made.on_entity(key, entity({"epoch": 3, "base": 0, "offsets": "?"}))
    made.on_entity(key, entity(REPLAYED.document(replayed(OffsetSet(0, [Run(1, 2)]), 1))))
    assert made.settled(place).runs == [Run(1, 2)], "better than nothing that can be read"


def test_what_no_replay_has_settled_is_unresolved() -> None:
    made = book()
    bounds = {0: LogBounds(10, 20), 1: LogBounds(0, 5)}
    assert made.unresolved({}) == 0
    assert made.unresolved(bounds) == 15
    for partition, runs in ((2, [Run(8, 12)]), (5, [Run(15, 16), Run(18, 25)])):
        settled = OffsetSet(0, runs, "a")
        key = replayed_key("g", "billing", TopicPartition("orders", partition), 0)
        made.on_entity(key, entity(REPLAYED.document(replayed(settled, 1))))
    made.on_entity(
        replayed_key("g", "billing", SOURCE, 7), entity(REPLAYED.document(replayed(OffsetSet(0, [Run(0, 9)]), 1)))
    )
    made.see_topic("a")
    assert made.unresolved(bounds) == 15 - 2 - 3
    made.see_topic("b")
    assert made.unresolved(bounds) == 15, "what was settled of another topic means nothing"


def test_tasks_are_counted_by_state() -> None:
    made = book()
    task = replace(TASK, id="b", state=ReplayState.RUNNING)
    made.on_entity(task.key, entity(task.document()))
    assert made.counts() == {"paused": 1, "running": 1}
