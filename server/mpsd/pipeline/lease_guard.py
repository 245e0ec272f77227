"""A delivery ends with its lease, not a moment later: somebody else may start the next of its key then."""

import asyncio
import logging

from mpsd.pipeline.pending_queue import PendingQueue
from mpsd.pipeline.writer import Writer
from mpsd.ports import DeliveryAdapter, RecordSource

log = logging.getLogger("mpsd.pipeline")

LEASE_GUARD_S = 0.25
"""How often the lease is looked at before it is about to end."""


async def guard_lease(
    subscription: str, source: RecordSource, adapter: DeliveryAdapter, pending: PendingQueue, writer: Writer
) -> None:
    """Abort what is in flight when the membership is not confirmed in time; until cancelled."""
    while True:
        left_s = source.lease_left_s()
        await asyncio.sleep(left_s if 0 < left_s < LEASE_GUARD_S else LEASE_GUARD_S)
        if writer.in_flight and source.lease_left_s() <= 0:
            extra = {"code": "partition.lease_over", "subscription": subscription}
            log.warning(
                "membership not confirmed in time: deliveries in flight are aborted and made again", extra=extra
            )
            await asyncio.gather(*(adapter.revoke(assignment, 0.0) for assignment in pending.queues))
