"""The sample application's business: what it answers, and that doing it twice does no harm."""

import json

import pytest

from examples.orders.application import Answer, Orders

ORDER = {"amount": 5, "warehouse": "near"}


async def answer(orders: Orders, body: object, attempt: int = 1, idempotency_key: str = "orders/0/1") -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await orders.take(raw, {"idempotency-key": idempotency_key, "mps-attempt": str(attempt)})


async def test_an_order_is_taken_once_however_often_it_comes() -> None:
    orders = Orders(work_s=0)
    assert await answer(orders, ORDER) == Answer(200)
    assert await answer(orders, b"no order at all") == Answer(200)


@pytest.mark.parametrize("amount", [0, -1])
async def test_an_order_of_nothing_is_poison(amount: int) -> None:
    assert await answer(Orders(work_s=0), ORDER | {"amount": amount}) == Answer(422, "the amount must be above zero")


@pytest.mark.parametrize("body", [b"", b"{", [], {}, {"amount": "much", "warehouse": "near"}, {"amount": 1}, None])
async def test_what_is_no_order_is_poison(body: object) -> None:
    assert await answer(Orders(work_s=0), body) == Answer(422, "this is not an order")


async def test_the_remote_warehouse_answers_at_the_third_attempt() -> None:
    orders = Orders(work_s=0)
    statuses = [(await answer(orders, ORDER | {"warehouse": "remote"}, attempt)).status for attempt in (1, 2, 3)]
    assert statuses == [500, 500, 200]
