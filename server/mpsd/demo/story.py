"""Records of the demo: orders of customers, some of them poison, some for a warehouse that accepts at the third try."""

import json
import random
from typing import NamedTuple

from mpsd.kafka.topics import Message

POISON_EACH = 1_000
"""One record of so many is never accepted."""
FLAKY_EACH = 400
"""One record of so many fails twice."""
RECORDS_MIN = 10


class Story(NamedTuple):
    """Messages in the order in which they are produced, and what is to become of them."""

    messages: list[Message]
    poison: int
    flaky: int


def orders(count: int, customers: int) -> Story:
    """Return the story; the orders are the same every time.

    Args:
        count: `RECORDS_MIN` or more.
        customers: how many keys they are spread over, unevenly as customers are; 1 or more.
    """
    rng = random.Random(f"{count} orders of {customers} customers")
    poison, flaky = max(1, count // POISON_EACH), max(1, count // FLAKY_EACH)
    special = rng.sample(range(count), poison + flaky)
    poisonous, remote = frozenset(special[:poison]), frozenset(special[poison:])
    messages = []
    for number in range(count):
        customer = f"customer-{rng.randrange(customers)}"
        order = {
            "order": number,
            "customer": customer,
            "amount": 0 if number in poisonous else rng.randrange(100, 100_000) / 100,
            "warehouse": "remote" if number in remote else "near",
        }
        headers = [("content-type", b"application/json")]
        messages.append(Message(customer.encode(), json.dumps(order).encode(), headers))
    return Story(messages, poison, flaky)
