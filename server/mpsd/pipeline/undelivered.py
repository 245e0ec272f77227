"""Records that go to the dead-letter topic without a delivery."""

from collections.abc import Sequence

from mpsd.core.delivery import Delivery
from mpsd.core.retry import DeadLetterRequest, Disposition
from mpsd.pipeline.pending_queue import PartitionQueue

EXPIRED = DeadLetterRequest(
    disposition=Disposition.EXPIRED, reason="older than retry.record_age_max_s before it was accepted"
)
BLOCKED = DeadLetterRequest(
    disposition=Disposition.BLOCKED, reason="an earlier record of its key is in the dead-letter topic"
)
BLOCKED_RUN_MAX = 500
"""Records of a lane that follow its dead letter in one go: as many as one write takes. One at a time is slower than they come."""


def behind_blocked(queue: PartitionQueue, head: Delivery) -> Sequence[Delivery]:
    """What stands behind the head of a blocked key's lane and goes with it: all but what is to release the key."""
    run = queue.lanes.take_run(head, BLOCKED_RUN_MAX)
    for delivery in run:
        if delivery.releases:
            queue.lanes.put_back(delivery)
    return [delivery for delivery in run if not delivery.releases]
