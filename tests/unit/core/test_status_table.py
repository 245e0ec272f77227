import pytest

from mpsd.core.status_table import Meaning, StatusTable

CONTRACT = {
    Meaning.DELIVERED: [200, 201, 202, 204, 299],
    Meaning.DEAD_LETTER: [400, 406, 409, 411, 413, 414, 415, 416, 418, 422, 431, 451, 499],
    Meaning.RETRY: [408, 425, 500, 501, 505, 507, 511, 599, 600, 999],
    Meaning.THROTTLE: [429, 503],
    Meaning.UNAVAILABLE: [300, 301, 302, 304, 308, 401, 402, 403, 404, 405, 407, 410, 421, 426, 502, 504],
}


@pytest.mark.parametrize(("meaning", "status"), [(row, status) for row, them in CONTRACT.items() for status in them])
def test_every_row_of_the_contract(meaning: Meaning, status: int) -> None:
    assert StatusTable({}).meaning(status) is meaning


def test_an_operator_moves_a_status_to_another_row() -> None:
    table = StatusTable({404: Meaning.DEAD_LETTER, 299: Meaning.RETRY})
    assert table.meaning(404) is Meaning.DEAD_LETTER
    assert table.meaning(299) is Meaning.RETRY
    assert table.meaning(403) is Meaning.UNAVAILABLE


def test_codes_name_what_the_table_names_and_classes_for_the_rest() -> None:
    table = StatusTable({299: Meaning.RETRY})
    assert [table.code(status) for status in (503, 299, 418, 307, 599)] == [
        "status_503",
        "status_299",
        "status_4xx",
        "status_3xx",
        "status_5xx",
    ]


def test_codes_are_few() -> None:
    assert len({StatusTable({}).code(status) for status in range(100, 1000)}) < 50
