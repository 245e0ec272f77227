import json

import pytest

from mpsd.devtools.samples import MEBIBYTE, Sample, deliveries, sample_of, steps
from mpsd.kafka.topics import Message


def test_a_record_of_a_file_is_played_as_it_is() -> None:
    assert sample_of(Message(b"k", None, [("h", b"1")])) == Sample(key=b"k", value=None, headers=(("h", b"1"),))


def test_own_records_come_first_and_stand_for_the_ordinary_one() -> None:
    own = [Sample(value=b'{"id":1}', topic="mine"), Sample(value=b"two", topic="other")]
    results = {step.name: step for step in steps(own, 1)}
    assert results["normal"].samples == own[:1]
    assert results["own"].samples == own[1:]
    assert {sample.topic for step in results.values() for sample in step.samples} == {"mine", "other"}
    assert not {"batch", "spoiled"} & results.keys()


@pytest.mark.parametrize("value", [b'{"a":1}', b"[1]", b"text", None])
def test_the_large_value_is_one_mebibyte_of_the_same_kind(value: bytes | None) -> None:
    (large,) = next(step for step in steps([Sample(value=value)], 1) if step.name == "large").samples
    assert large.value is not None
    assert len(large.value) == MEBIBYTE
    if value in {b'{"a":1}', b"[1]"}:
        assert isinstance(json.loads(large.value), type(json.loads(value or b"")))


def test_a_batch_has_its_poison_in_the_middle() -> None:
    results = {step.name: step for step in steps([], 20)}
    assert len(results["batch"].samples) == len(results["spoiled"].samples) == 20
    assert results["spoiled"].samples[10].key == b"poison"
    for step in results.values():
        keys = [sample.key for sample in step.samples]
        assert len(set(keys)) == len(keys), "as many keys as records"


def test_what_comes_again_is_the_same_record_one_attempt_later() -> None:
    first, again = (step for step in steps([], 1) if step.name in {"normal", "again"})
    (once,), (twice,) = deliveries(first, 0), deliveries(again, 1)
    assert (once.record.offset, once.attempt) == (0, 1)
    assert (twice.record.offset, twice.attempt) == (0, 2)
