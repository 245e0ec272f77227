"""Findings about transactions that hold up partitions, and whose they are."""

import time
from collections.abc import Mapping
from typing import Any

from mpsd.admin.daemon import Finding
from mpsd.config import Config
from mpsd.errors import MpsError
from mpsd.kafka.transactions import OpenTransaction, open_transactions

ADVICE = (
    "if the producer is gone for good, abort its transaction with Kafka's kafka-transactions.sh; if not, it ends within its"
    " transaction.timeout.ms"
)


async def transaction_findings(config: Config, options: Mapping[str, Any]) -> list[Finding]:
    """Look for partitions that wait for an open transaction; those of subscriptions that read committed records alone.

    Args:
        options: of every Kafka client.
    """
    readers = {
        topic: each.name
        for each in config.subscriptions
        if each.isolation_level == "read_committed"
        for topic in each.topics
    }
    try:
        found = await open_transactions(options, sorted(readers))
    except MpsError as error:
        return [Finding(ok=False, about="kafka", text=str(error), code=error.code, works=True)]
    return [_finding(readers[each.tp.topic], each) for each in found]


def _finding(about: str, held_up: OpenTransaction) -> Finding:
    records = held_up.log_end - held_up.stable_end
    text = f"{held_up.tp} waits at {held_up.stable_end} for an open transaction: {records} offsets behind it cannot be read"
    for each in held_up.producers:
        silent_s = max(0, int(time.time() - each.wrote_at_ms / 1000))
        text += f"; producer id {each.id} (epoch {each.epoch}) began at {each.start}, last wrote {silent_s} s ago"
    if not held_up.producers:
        text += "; the broker does not say whose"
    return Finding(ok=False, about=about, text=text, code="kafka.open_transaction", advice=ADVICE, works=True)
