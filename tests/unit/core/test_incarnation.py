"""No two topics that ever had a name give their records the same ids."""

from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.idempotency import VISIBLE_ASCII
from mpsd.core.incarnation import UNKNOWN, Incarnation
from mpsd.core.record import TopicPartition

HERE = TopicPartition("orders", 3)
TOPIC_ID = bytes(range(16))

incarnations = st.builds(
    Incarnation, st.sampled_from([b"", TOPIC_ID, bytes(15) + b"\1"]), st.sampled_from(["", "a", "a/b", "ü", "a%2Fb"])
)
partitions = st.builds(TopicPartition, st.sampled_from(["a", "orders", "b.c"]), st.integers(0, 3))


def test_the_topic_id_is_enough() -> None:
    assert Incarnation(TOPIC_ID, "cluster").record_prefix(HERE) == b"AAECAwQFBgcICQoLDA0ODw/3/"
    assert Incarnation(TOPIC_ID, "another").record_prefix(HERE) == Incarnation(TOPIC_ID).record_prefix(HERE)


def test_without_one_cluster_and_name_must_do() -> None:
    assert Incarnation(cluster_id="lkc-1/x").record_prefix(HERE) == b"lkc-1%2Fx/orders/3/"
    assert UNKNOWN.record_prefix(HERE) == b"/orders/3/"


@given(one=incarnations, other=incarnations, here=partitions, there=partitions)
def test_records_of_different_topics_have_different_ids(
    one: Incarnation, other: Incarnation, here: TopicPartition, there: TopicPartition
) -> None:
    prefixes = one.record_prefix(here), other.record_prefix(there)
    assert not b"".join(prefixes).translate(None, VISIBLE_ASCII.replace(b'"', b"").replace(b"\\", b""))
    if one.topic_id and other.topic_id:
        assert (prefixes[0] == prefixes[1]) == ((one.topic_id, here[1]) == (other.topic_id, there[1]))
    elif one.topic_id or other.topic_id:
        assert prefixes[0] != prefixes[1]
    else:
        assert (prefixes[0] == prefixes[1]) == ((one.cluster_id, here) == (other.cluster_id, there))


def test_clusters_have_tags_of_eight_bytes() -> None:
    one, other = Incarnation(cluster_id="one"), Incarnation(cluster_id="other")
    assert len(one.cluster_tag) == len(other.cluster_tag) == 8
    assert one.cluster_tag != other.cluster_tag
    assert UNKNOWN.cluster_tag == b""


def test_it_says_what_is_known() -> None:
    assert str(Incarnation(TOPIC_ID, "c")) == "topic id 000102030405060708090a0b0c0d0e0f, cluster c"
    assert str(UNKNOWN) == "topic id unknown, cluster unknown"
