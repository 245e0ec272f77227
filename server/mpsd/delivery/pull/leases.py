"""The records that callers hold, their ids and their ends: decided here, without clock, loop or network.

Records of one request have one `Term`, so that a timer counts requests and not records. Extending some of them moves these
to a term of their own.
"""

import hmac
import secrets
from collections.abc import Iterable, Sequence
from hashlib import blake2s
from math import inf

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import DELIVERED, EXCERPT_BYTES_MAX, Outcome, Rejected, Retryable, Withdrawn
from mpsd.delivery.pull.messages import Settlement

PROOF_BYTES = 10
"""Eighty bits: nobody guesses another caller's lease, however many requests they send."""
REASON_CHARACTERS_KEPT = 256


class Term:
    """The records whose leases end at one time.

    Attributes:
        ends_s: on the monotonic clock.
        held: the unsettled records, in the order in which they were given.
    """

    __slots__ = ("ends_s", "held")

    def __init__(self, ends_s: float) -> None:
        self.ends_s = ends_s
        self.held: dict[str, Held] = {}


class Lease:
    """The records that one request was given.

    Attributes:
        began_s: on the monotonic clock.
        length_s: as it was granted.
        answered: the answer is on its way; before, nobody has seen the records.
        is_taken: the caller was there until the answer had left; before, it cannot have had all of it.
        held: all that it began with.
    """

    __slots__ = ("answered", "began_s", "held", "id", "is_taken", "length_s")

    def __init__(self, lease_id: str, began_s: float, length_s: float) -> None:
        self.id = lease_id
        self.began_s = began_s
        self.length_s = length_s
        self.answered = False
        self.is_taken = False
        self.held: Sequence[Held] = ()


class Held:
    """A record that a caller holds; its term is None once it does not."""

    __slots__ = ("delivery", "id", "lease", "term")

    def __init__(self, delivery_id: str, delivery: Delivery, lease: Lease, term: Term) -> None:
        self.id = delivery_id
        self.delivery = delivery
        self.lease = lease
        self.term: Term | None = term


class Leases:
    """The leases in effect. Takes: deliveries for a caller. Gives: ended ones. Holds at most: deliveries not ended."""

    def __init__(self, length_total_max_s: float) -> None:
        self._total_max_s = length_total_max_s
        self._held: dict[str, Held] = {}
        self._terms: dict[Term, None] = {}

    def __len__(self) -> int:
        return len(self._held)

    def begin(self, lease_id: str, batch: Sequence[Delivery], length_s: float, now_s: float) -> Lease:
        length_s = min(length_s, self._total_max_s)
        lease = Lease(lease_id, now_s, length_s)
        term = Term(now_s + length_s)
        lease.held = [Held(f"{lease_id}.{place}", delivery, lease, term) for place, delivery in enumerate(batch)]
        term.held = {held.id: held for held in lease.held}
        self._held.update(term.held)
        self._terms[term] = None
        return lease

    def find(self, lease_id: str, delivery_id: str) -> Held | None:
        """Return a delivery that this lease holds; None if it does not hold it."""
        held = self._held.get(delivery_id)
        return held if held is not None and held.lease.id == lease_id else None

    def lease(self, lease_id: str) -> Lease | None:
        """Return a lease of which something is held, else None; looks at everything that is held."""
        return next((held.lease for held in self._held.values() if held.lease.id == lease_id), None)

    def end(self, held: Held) -> None:
        """Remove a delivery."""
        term = held.term
        assert term is not None
        held.term = None
        del self._held[held.id]
        del term.held[held.id]
        if not term.held:
            self._terms.pop(term, None)

    def extend(self, extended: Iterable[Held], length_s: float, now_s: float) -> None:
        """Let each end `length_s` from now, but no later than a lease may last in all."""
        terms: dict[float, Term] = {}
        for held in extended:
            ends_s = min(now_s + length_s, held.lease.began_s + self._total_max_s)
            term = terms.get(ends_s)
            if term is None:
                term = terms[ends_s] = Term(ends_s)
                self._terms[term] = None
            before = held.term
            assert before is not None
            del before.held[held.id]
            if not before.held:
                self._terms.pop(before, None)
            held.term = term
            term.held[held.id] = held

    def due(self, now_s: float) -> list[Held]:
        """Return the deliveries whose lease is over."""
        return [held for term in self._terms if term.ends_s <= now_s for held in term.held.values()]

    @property
    def due_s(self) -> float:
        """The time at which the next lease ends; infinity if there is none."""
        return min((term.ends_s for term in self._terms), default=inf)

    def of(self, assignment: Assignment | None) -> list[Held]:
        """Return the deliveries of an assignment; None for all."""
        return [held for held in self._held.values() if assignment in {None, held.delivery.assignment}]

    @property
    def terms(self) -> int:
        return len(self._terms)


class LeaseIds:
    """The ids of leases, `<instance>.<number>.<proof>`; the id of a delivery is `<lease>.<index>`.

    The proof is keyed by a secret of this process and the subscription, so that `is_ours` refuses a lease of another
    subscription, of an earlier process, or an invented one, and remembers none.
    """

    def __init__(self, subscription: str, instance: str) -> None:
        self.instance = instance
        self._key = blake2s(subscription.encode(), key=secrets.token_bytes(32)).digest()
        self._issued = 0

    def issue(self) -> str:
        self._issued += 1
        number = f"{self._issued:x}"
        return f"{self.instance}.{number}.{self._proof(number)}"

    def is_ours(self, lease_id: str) -> bool:
        """Return True if this process issued the id."""
        instance, _, rest = lease_id.partition(".")
        number, _, proof = rest.partition(".")
        return instance == self.instance and hmac.compare_digest(proof.encode(), self._proof(number).encode())

    def _proof(self, number: str) -> str:
        return blake2s(number.encode(), key=self._key, digest_size=PROOF_BYTES).hexdigest()


def holder(lease_id: str) -> str:
    """Return the instance that a lease id names, unchecked."""
    return lease_id.partition(".")[0]


class Pace:
    """Events of about the last `window_s`.

    The count of the window before this one fades while this one fills.

    Source: the sliding window counter of rate limiters.
    """

    __slots__ = ("_before", "_began_s", "_now", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._began_s = 0.0
        self._before = self._now = 0

    def count(self, now_s: float) -> None:
        """Count an event."""
        self._turn(now_s)
        self._now += 1

    def lately(self, now_s: float) -> float:
        """Return the number of events in about the last window."""
        self._turn(now_s)
        return self._before * (1 - (now_s - self._began_s) / self._window_s) + self._now

    def _turn(self, now_s: float) -> None:
        passed = int((now_s - self._began_s) // self._window_s)
        if passed > 0:
            self._before, self._now = (self._now, 0) if passed == 1 else (0, 0)
            self._began_s += passed * self._window_s


def lost(held: Held) -> Outcome:
    """Return the outcome of a delivery whose lease ended."""
    if not held.lease.answered:
        return Withdrawn(reason="its lease ended before it was sent")
    reason = f"held for {held.lease.length_s:g} s or longer and neither settled nor extended"
    return Retryable(code="lease_expired", reason=reason, lost=True)


def outcome_of(settlement: Settlement) -> Outcome:
    """Return the outcome that a settlement means."""
    if settlement.verdict == "ack":
        return DELIVERED
    given = settlement.reason
    reason = "".join([character if character.isprintable() else "?" for character in given[:REASON_CHARACTERS_KEPT]])
    excerpt = given.encode("utf-8", "replace")[:EXCERPT_BYTES_MAX] if len(given) > REASON_CHARACTERS_KEPT else b""
    if settlement.verdict == "dead-letter":
        return Rejected(code="verdict_dead_letter", reason=reason or "settled as dead-letter", excerpt=excerpt)
    return Retryable(
        code="verdict_retry",
        reason=reason or "settled as retry",
        retry_after_s=settlement.delay_s or None,
        excerpt=excerpt,
    )
