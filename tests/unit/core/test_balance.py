from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.balance import Claim, Member, Share, balance
from mpsd.core.record import TopicPartition


def tps(*numbers: int, topic: str = "orders") -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in numbers]


def member(
    *numbers: int, epoch: int = 1, leaving: tuple[int, ...] = (), topics: tuple[str, ...] = ("orders",)
) -> Member:
    """One that claims these partitions of `orders`."""
    claims = {tp: Claim(epoch, tp.partition in leaving) for tp in tps(*numbers)}
    return Member(topics=frozenset(topics), claims=claims)


def said(shares: Mapping[str, Share]) -> dict[str, tuple[list[int], list[int]]]:
    """By member, the partitions it has and those of them that leave."""
    return {
        name: (sorted(tp.partition for tp in share.partitions), sorted(tp.partition for tp in share.leaving))
        for name, share in shares.items()
    }


def test_free_partitions_are_shared_evenly_at_once() -> None:
    assert said(balance(tps(0, 1, 2, 3), {"a": member(), "b": member()})) == {"a": ([0, 2], []), "b": ([1, 3], [])}


def test_a_balanced_group_is_left_as_it_is() -> None:
    members = {"a": member(0, 3), "b": member(1, 2), "c": member(4)}
    assert said(balance(tps(0, 1, 2, 3, 4), members)) == {"a": ([0, 3], []), "b": ([1, 2], []), "c": ([4], [])}


def test_what_must_move_stays_and_leaves_first() -> None:
    assert said(balance(tps(0, 1, 2, 3), {"a": member(0, 1, 2, 3), "b": member()})) == {
        "a": ([0, 1, 2, 3], [0, 1]),
        "b": ([], []),
    }


def test_what_was_dropped_goes_to_where_it_was_meant_to_go() -> None:
    assert said(balance(tps(0, 1, 2, 3), {"a": member(0, 1), "b": member()})) == {"a": ([0, 1], []), "b": ([2, 3], [])}


def test_what_is_draining_already_goes_on_leaving() -> None:
    members = {"a": member(0, 1, 2, 3, leaving=(2, 3)), "b": member()}
    assert said(balance(tps(0, 1, 2, 3), members))["a"] == ([0, 1, 2, 3], [2, 3])


def test_what_need_not_leave_any_more_stays() -> None:
    assert said(balance(tps(0, 1), {"a": member(0, 1, leaving=(1,))})) == {"a": ([0, 1], [])}


def test_of_two_claims_the_later_is_true() -> None:
    members = {"a": member(0, epoch=5), "b": member(0, epoch=7)}
    assert said(balance(tps(0), members)) == {"a": ([], []), "b": ([0], [])}
    assert said(balance(tps(0), dict(reversed(members.items())))) == {"a": ([], []), "b": ([0], [])}
    members = {"a": member(0, epoch=7), "b": member(0, epoch=5)}
    assert said(balance(tps(0), members)) == {"a": ([0], []), "b": ([], [])}


def test_a_claim_to_what_does_not_exist_or_is_not_wanted_means_nothing() -> None:
    members = {"a": member(0, 9), "b": member(1, topics=("other",))}
    assert said(balance(tps(0, 1), members)) == {"a": ([0, 1], []), "b": ([], [])}


def test_a_topic_goes_to_those_who_subscribe_to_it_or_to_nobody() -> None:
    partitions = [*tps(0, 1), *tps(0, topic="other"), *tps(0, topic="forgotten")]
    shares = balance(partitions, {"a": member(topics=("orders", "other")), "b": member()})
    given_away = sorted(tp for share in shares.values() for tp in share.partitions)
    assert given_away == [*tps(0, 1), *tps(0, topic="other")]
    assert TopicPartition("other", 0) in shares["a"].partitions


def test_of_several_topics_the_one_that_is_most_uneven_moves() -> None:
    mine = {tp: Claim(1, leaving=False) for tp in [*tps(0, 1, 2), *tps(0, topic="other")]}
    theirs = {tp: Claim(1, leaving=False) for tp in tps(1, topic="other")}
    both = frozenset({"orders", "other"})
    shares = balance([*mine, *theirs], {"a": Member(topics=both, claims=mine), "b": Member(topics=both, claims=theirs)})
    assert shares["a"].leaving == set(tps(0))


def test_all_of_a_topic_may_have_to_leave() -> None:
    mine = {tp: Claim(1, leaving=False) for tp in [*tps(0, 1), *tps(0, topic="other")]}
    members = {
        "a": Member(topics=frozenset({"orders", "other"}), claims=mine),
        "b": Member(topics=frozenset({"other"}), claims={}),
    }
    assert balance(list(mine), members)["a"].leaving == set(tps(0, topic="other"))


@given(st.integers(0, 12), st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=5))
def test_a_group_settles_in_balance_and_nothing_has_two_owners(count: int, claimed: list[set[int]]) -> None:
    partitions = tps(*range(count))
    members = {f"m{at}": member(*sorted(numbers), epoch=at) for at, numbers in enumerate(claimed)}
    shares: dict[str, Share] = {}
    for generation in range(100, 100 + 2 * count + 3):
        shares = balance(partitions, members)
        held = [tp for share in shares.values() for tp in share.partitions]
        assert sorted(held) == partitions
        assert all(share.leaving <= share.partitions for share in shares.values())
        members = {
            name: Member(
                topics=frozenset({"orders"}),
                claims={tp: Claim(generation, leaving=False) for tp in share.partitions - share.leaving},
            )
            for name, share in shares.items()
        }
    assert not any(share.leaving for share in shares.values())
    counts = [len(share.partitions) for share in shares.values()]
    assert max(counts) - min(counts) <= 1
