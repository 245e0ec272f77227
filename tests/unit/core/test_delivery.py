from mpsd.core.delivery import FailureHistory, log_fields
from tests.fakes.records import assigned, delivery


def test_the_first_delivery_is_attempt_one() -> None:
    assert delivery().attempt == 1


def test_each_delivery_that_counted_raises_the_attempt() -> None:
    made = delivery(attempts=2)
    assert made.attempt == 3


def test_a_delivery_that_did_not_count_leaves_the_attempt_as_it_was() -> None:
    made = delivery()
    made.failures = FailureHistory(deferrals=7)
    assert made.attempt == 1


def test_a_delivery_says_where_its_record_stands_but_never_its_key() -> None:
    made = delivery(1842, b"secret", assigned(3))
    assert str(made) == "orders/3@1842"
    assert repr(made) == "<Delivery orders/3@1842 waiting attempt=1>"


def test_a_partition_gained_again_is_another_assignment() -> None:
    assert assigned(3, epoch=7) != assigned(3, epoch=7)
    assert repr(assigned(3, epoch=7)) == "<Assignment orders/3 epoch=7>"


def test_a_log_line_names_topic_partition_and_offset() -> None:
    assert log_fields(delivery(1842, b"secret", assigned(3))) == {"topic": "orders", "partition": 3, "offset": 1842}
