"""A service that bills orders: one handler, behind a stream or behind HTTP.

    python billing.py billing 127.0.0.1:7072        # delivery.protocol = "stream": it dials in
    uvicorn billing:app --port 8000                 # delivery.protocol = "rest": records are posted to it

The database is SQLite, in the file that BILLS names. A record can come again after a crash, so its idempotency key stands
in the transaction that does the work: the second time changes nothing.
"""

import json
import os
import sqlite3
import sys
import threading

from mps_client import DeadLetter, Record, Retry, asgi, run

DATABASE = os.environ.get("BILLS", "bills.sqlite")


class Bills:
    """The bills written so far. SQLite allows one writer at a time."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False)
        with self._lock, self._database:
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS bills (record TEXT PRIMARY KEY, customer TEXT, amount REAL)"
            )

    def add(self, record: str, customer: str, amount: float) -> None:
        """Once, however often it is called for one record."""
        with self._lock, self._database:
            self._database.execute("INSERT OR IGNORE INTO bills VALUES (?, ?, ?)", (record, customer, amount))


bills = Bills(DATABASE)


def bill(record: Record) -> None:
    """Write the bill. The handler is no coroutine function, so it runs in threads; orders of one customer never overlap."""
    if record.value is None:
        return  # the order was deleted: nothing to bill
    try:
        amount = float(json.loads(record.value)["amount"])
    except (ValueError, KeyError, TypeError) as error:
        raise DeadLetter(f"not an order: {type(error).__name__}") from None
    if amount < 0:
        raise DeadLetter("an amount cannot be below zero")
    if amount == 13 and record.attempt == 1:
        raise Retry("the bank is superstitious", after_s=0.1)
    bills.add(record.idempotency_key, (record.key or b"").decode(errors="replace"), amount)


app = asgi(bill)

if __name__ == "__main__":
    subscription, *addresses = sys.argv[1:] or ["billing", "127.0.0.1:7072"]
    run(bill, subscription, addresses, concurrency=16)
