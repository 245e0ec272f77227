"""Batches with the Writer that makes them: what comes back together, and what comes alone."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from mpsd.config import Batch
from mpsd.core.batches import THROTTLED_TOGETHER_MAX
from mpsd.delivery.rest import BatchAdapter
from mpsd.pipeline.writer import Application as Target
from mpsd.pipeline.writer import Writer
from tests.conformance.http_server import HttpServer, Peer
from tests.conformance.test_batches import Application
from tests.fakes.clock import loop_clock
from tests.fakes.rest_delivery import rest_delivery
from tests.fakes.stage import Stage, policy_rules
from tests.integration.world.patience import until

KEYS = [b"k%d" % number for number in range(20)]
ALL = list(range(20))


async def requests_until_done(says: Callable[[int, list[int]], int], left: int = 0) -> list[list[int]]:
    """Return the requests that the application gets until the records are finished.

    Args:
        says: the status of an answer, for the number of the request and its offsets.
        left: so many records never are.
    """

    async def answer(peer: Peer, offsets: list[int]) -> None:
        await peer.answer(says(len(application.requests), offsets))

    application = Application(answer)
    server = HttpServer(application.serve)
    url = f"http://127.0.0.1:{await server.start()}/orders"
    rules = policy_rules(backoff_initial_s=0.02, backoff_max_s=0.05, successes_between=5, concurrency_max=80)
    stage = Stage(rules)
    adapter = BatchAdapter("billing", rest_delivery(url, concurrency_max=4, batch=Batch(records_max=20)))
    stage.writer = Writer(
        "billing",
        stage.pending,
        stage.order,
        Target(adapter=adapter, policy=stage.policy, bucket=stage.bucket),
        stage.source,
        stage.dead_letter,
        replace(loop_clock(), jitter=random.Random(1).random),
    )
    await stage.writer.start()
    queue = stage.open()
    try:
        stage.read(queue, *KEYS)
        await until(lambda: len(queue.tracker.unfinished) == left, "all others are finished")
        assert not stage.entry
        return list(application.requests)
    finally:
        stage.writer.stop()
        await adapter.close(0.0)
        await server.stop()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_batch_that_was_answered_with_less_please_comes_again_as_it_was(status: int) -> None:
    requests = await requests_until_done(lambda number, _: status if number <= 2 else 200)
    assert [sorted(each) for each in requests] == [ALL] * 3


async def test_an_unavailable_endpoint_says_by_single_records_whom_it_suffers_from() -> None:
    requests = await requests_until_done(lambda _, offsets: 502 if 7 in offsets else 200, left=1)
    assert sorted(requests[0]) == ALL
    assert all(len(each) == 1 for each in requests[1:])


async def test_one_record_that_is_always_answered_503_holds_up_the_others_only_for_a_while() -> None:
    requests = await requests_until_done(lambda _, offsets: 503 if 7 in offsets else 200, left=1)
    assert [sorted(each) for each in requests[: THROTTLED_TOGETHER_MAX + 1]] == [ALL] * (THROTTLED_TOGETHER_MAX + 1)
    assert all(len(each) == 1 for each in requests[THROTTLED_TOGETHER_MAX + 1 :])
