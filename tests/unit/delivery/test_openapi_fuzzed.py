"""The endpoints against requests that were made up from their own description."""

import asyncio

from tests.conformance.fuzzed import every_operation_holds
from tests.unit.delivery.pull.served import serving


async def test_every_answer_is_in_the_document() -> None:
    async with serving(wait_max_s=0.001, waiters_max=2) as served:
        made = await asyncio.to_thread(every_operation_holds, f"http://{served.address}", "billing", 20)
        assert made > 60
