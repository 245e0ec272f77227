from mpsd.core.delivery import Delivery, FailureHistory
from mpsd.core.probation import Probation
from tests.fakes.records import assigned, delivery


def charged(offset: int, attempts: int, partition: int = 0) -> Delivery:
    made = delivery(offset, assignment=assigned(partition))
    made.failures = FailureHistory(attempts=attempts)
    return made


def attempts(*made: Delivery) -> list[int]:
    return [each.failures.attempts for each in made if each.failures is not None]


def test_an_outage_gives_back_what_was_charged_since_the_last_success() -> None:
    probation, a, b = Probation(), charged(0, 5), charged(1, 1)
    probation.charged(a)
    probation.charged(a)
    probation.charged(b)
    probation.give_back()
    assert attempts(a, b) == [3, 0]
    probation.give_back()
    assert attempts(a, b) == [3, 0]


def test_after_a_success_charges_stand() -> None:
    probation, a = Probation(), charged(0, 5)
    probation.charged(a)
    probation.succeeded()
    probation.give_back()
    assert attempts(a) == [5]


def test_a_record_that_is_settled_otherwise_is_forgotten() -> None:
    probation, a = Probation(), charged(0, 5)
    probation.charged(a)
    probation.left(a)
    probation.left(a)
    assert not probation.charges


def test_a_partition_that_leaves_takes_its_records_along() -> None:
    probation, a, b = Probation(), charged(0, 1), charged(1, 1, partition=1)
    probation.charged(a)
    probation.charged(b)
    probation.forget(assigned(1).tp)
    probation.give_back()
    assert attempts(a, b) == [0, 1]
