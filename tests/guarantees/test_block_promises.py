"""The guarantees of blocked keys hold where they should, and break where they should."""

import pytest

from mpsd.core.blocked_keys import BlockedKey
from mpsd.core.delivery import Assignment, Delivery, Replayed, ReplayedDelivery
from mpsd.core.record import TopicPartition
from tests.fakes.records import Row
from tests.simulation.block_promises import (
    BlockedBeforeCommitted,
    BlockedKeysReleasedWhole,
    Entry,
    Holds,
    KeyOf,
    NothingOldBehindALiveRecord,
    NothingPastABlockedKey,
    OrderOverBlocks,
)

ORDERS = TopicPartition("orders", 0)
KEY = KeyOf(ORDERS, b"k")
OWNER, FORMER = Assignment(ORDERS, 4), Assignment(ORDERS, 3)


def holds(revision: int = 7, epoch: int = 4, *, acknowledged: bool = True, dead_letter: int = 10) -> Holds:
    """Return an entry; the owner was assigned when revision 5 was the last."""
    made = Holds()
    made.assigned(OWNER, 5)
    made.entries[KEY] = Entry(revision, epoch, BlockedKey(1, 0, dead_letter, epoch))
    if acknowledged:
        made.acknowledged.add(revision)
    return made


def live(key: bytes | None = b"k") -> Delivery:
    return Delivery(Row(offset=2, key=key), OWNER, key, 100, 0.0)


def replayed(*, releases: bool) -> ReplayedDelivery:
    record = Row(offset=2, key=b"k")
    return ReplayedDelivery(
        record, OWNER, b"k", 100, 0.0,
        Replayed(replay="r1", replays=0, dead_letter_offset=9, on_finished=lambda _: None, releases=releases),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("holding", "delivery", "breaks"),
    [
        (holds(), live(), True),
        (holds(), live(b"o"), False),
        (holds(), live(None), False),
        (holds(), replayed(releases=True), False),
        (holds(), replayed(releases=False), True),
        (holds(acknowledged=False), live(), False),  # it may not be written, and its record is not finished
        (holds(revision=5, epoch=3), live(), True),  # of a former owner
        (holds(revision=6, epoch=3), live(), False),  # written late
        (Holds(), live(), False),
    ],
)
def test_nothing_passes_a_held_key_but_its_replay(holding: Holds, delivery: Delivery, breaks: bool) -> None:
    guarantee = NothingPastABlockedKey(holding)
    guarantee.on_sent(delivery, "d0", 1.0)
    assert bool(guarantee.faults()) is breaks


def test_no_commit_passes_a_dead_record_whose_key_is_not_held() -> None:
    guarantee = BlockedBeforeCommitted()
    guarantee.died(KEY, 2, 1.0)
    assert guarantee.waits_since_s(ORDERS) == 1.0
    guarantee.committed(ORDERS, 2)
    assert not guarantee.faults()
    guarantee.committed(ORDERS, 3)
    assert guarantee.faults()


def test_a_commit_may_pass_what_is_held_or_accepted_or_of_a_life_that_is_over() -> None:
    guarantee = BlockedBeforeCommitted()
    guarantee.died(KEY, 2, 1.0)
    guarantee.died(KeyOf(ORDERS, b"o"), 3, 2.0)
    guarantee.blocked(KEY)
    guarantee.over(ORDERS, 3)
    guarantee.committed(ORDERS, 4)
    guarantee.died(KEY, 5, 3.0)
    guarantee.recreated(ORDERS)
    guarantee.committed(ORDERS, 6)
    assert guarantee.waits_since_s(ORDERS) is None
    assert not guarantee.faults()


def released(holding: Holds, *accepted: int, dead_letter: int = 12) -> BlockedKeysReleasedWhole:
    """Return the guarantee after records 2 and 3 died, these were accepted, and the owner removed the entry."""
    guarantee = BlockedKeysReleasedWhole(holding)
    guarantee.died(KEY, 2, dead_letter, OWNER)
    guarantee.died(KEY, 3, dead_letter + 1, OWNER)
    for offset in accepted:
        guarantee.accepted(KEY, offset, OWNER)
    guarantee.removed(KEY, [OWNER, Assignment(TopicPartition("orders", 1), 4)])
    holding.entries.pop(KEY)
    return guarantee


def test_a_key_is_released_whole() -> None:
    guarantee = released(holds(), 2, 3)
    assert not guarantee.faults()
    assert guarantee.released == 1
    assert released(holds(), 2).faults()
    assert not released(holds(), 2, dead_letter=5).faults()  # before the entry: no dead letters of this hold
    assert not released(holds(revision=6, epoch=3)).faults()  # a former owner's, removed because it is none


def test_what_its_replay_brought_and_the_same_owner_reads_again_is_brought() -> None:
    holding = holds()
    guarantee = BlockedKeysReleasedWhole(holding)
    guarantee.accepted(KEY, 2, OWNER)
    guarantee.accepted(KEY, 3, None)
    guarantee.died(KEY, 2, 12, OWNER)
    guarantee.removed(KEY, [OWNER])
    assert guarantee.released == 1
    guarantee.died(KEY, 2, 13, FORMER)
    guarantee.died(KEY, 3, 14, OWNER)
    guarantee.removed(KEY, [OWNER])
    assert "2 dead" in str(guarantee.faults()[0])


def test_each_key_is_released_in_the_end() -> None:
    assert BlockedKeysReleasedWhole(holds()).faults()
    assert not BlockedKeysReleasedWhole(Holds()).faults()


def test_a_key_is_accepted_in_order_over_its_replay() -> None:
    guarantee = OrderOverBlocks()
    for offset in (1, 3, 4, 3, 5):  # 2 is dead, 3 comes twice
        guarantee.accepted(KEY, offset)
    guarantee.accepted(KeyOf(ORDERS, b"o"), 0)
    assert not guarantee.faults()
    guarantee.accepted(KEY, 2)
    assert guarantee.faults()


def test_a_reset_begins_the_order_anew() -> None:
    guarantee = OrderOverBlocks()
    guarantee.accepted(KEY, 5)
    guarantee.recreated(ORDERS)
    guarantee.accepted(KEY, 2)
    assert not guarantee.faults()


@pytest.mark.parametrize(
    ("removed", "again", "breaks"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_what_let_a_key_go_does_not_come_again(removed: bool, again: bool, breaks: bool) -> None:
    guarantee = NothingOldBehindALiveRecord()
    guarantee.on_sent(replayed(releases=True))
    guarantee.accepted(KEY, replayed(releases=True))
    if removed:
        guarantee.removed(KEY)
    if again:
        guarantee.again("r1")
    guarantee.on_sent(replayed(releases=False))
    assert bool(guarantee.faults()) is breaks
