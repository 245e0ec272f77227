"""Which records callers hold, and until when: decided here, without clock, loop or network.

Records of one request have one `Term`, whatever their number, so that ends are looked after by the request and not by the
record. Extending some of them moves these to a term of their own.
"""

from collections.abc import Iterable, Sequence
from math import inf

from mpsd.core.delivery import Assignment, Delivery


class Term:
    """What ends at one time.

    Attributes:
        ends_s: on the monotonic clock.
        held: what is not settled, in the order in which it was given.
    """

    __slots__ = ("ends_s", "held")

    def __init__(self, ends_s: float) -> None:
        self.ends_s = ends_s
        self.held: dict[str, Held] = {}


class Lease:
    """What one request was given.

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
    """Takes: deliveries for a caller. Gives: those that ended. Holds at most: what it was given and has not ended."""

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
        """What the caller of this lease holds; None if it does not, or never did."""
        held = self._held.get(delivery_id)
        return held if held is not None and held.lease.id == lease_id else None

    def lease(self, lease_id: str) -> Lease | None:
        """The lease, while something of it is held. Costs a look at all that is held."""
        return next((held.lease for held in self._held.values() if held.lease.id == lease_id), None)

    def end(self, held: Held) -> None:
        """It is held no longer."""
        term = held.term
        assert term is not None
        held.term = None
        del self._held[held.id]
        del term.held[held.id]
        if not term.held:
            self._terms.pop(term, None)

    def extend(self, extended: Iterable[Held], length_s: float, now_s: float) -> None:
        """Each ends `length_s` from now, but no later than a lease may last in all."""
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
        """Those whose time is over."""
        return [held for term in self._terms if term.ends_s <= now_s for held in term.held.values()]

    @property
    def due_s(self) -> float:
        """When the next one ends; infinity if none does."""
        return min((term.ends_s for term in self._terms), default=inf)

    def of(self, assignment: Assignment | None) -> list[Held]:
        """All of the assignment; None for all there are."""
        return [held for held in self._held.values() if assignment in {None, held.delivery.assignment}]

    @property
    def terms(self) -> int:
        return len(self._terms)
