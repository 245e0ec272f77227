"""The content of a problem document."""

import json
from http import HTTPStatus

import pytest

from mpsd.listeners.problem import problem


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Content Too Large"),
        (HTTPStatus.UNPROCESSABLE_ENTITY, "Unprocessable Content"),
        (HTTPStatus.NOT_FOUND, "Not Found"),
    ],
)
def test_its_title_is_the_same_on_each_python(status: HTTPStatus, title: str) -> None:
    answer = problem(status, "detail")
    assert (answer.status_code, json.loads(bytes(answer.body))["title"]) == (status, title)
