"""The endpoints against requests that were made up from their own description."""

from tests.conformance.fuzzed import fuzz
from tests.unit.delivery.pull.served import serving


async def test_every_answer_is_in_the_document() -> None:
    async with serving(wait_max_s=0.001, waiters_max=2) as served:
        made = await fuzz(served.address, "billing", 20)
        assert made > 60
