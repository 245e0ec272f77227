"""One connection, with at most one request in flight."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Generic, Protocol, TypeVar, cast

from typing_extensions import override

from mpsd.core.outcome import DELIVERED, Outcome, Retryable
from mpsd.delivery.rest.client.answer_reader import Answer, AnswerBounds, AnswerReader, Nonsense

JOINED_BYTES_MAX = 65_536
"""Up to this size head and body are copied into one piece, which was measured to be cheaper than two; a kernel takes
that much at once, so that an early answer need not be looked for."""
KNOWN_BYTES_MAX = 1024
"""Answers above this are not remembered."""
NOTHING_KNOWN: frozenset[bytes] = frozenset()


Item = TypeVar("Item")
"""The content of one request: a delivery, or several."""
Result = TypeVar("Result")
"""The meaning of an answer besides the outcomes of a delivery."""


class ConnectionOwner(Protocol[Item, Result]):
    """The user of a connection.

    Attributes:
        known: whole answers that were read before and say no more than Delivered, a fact about their bytes alone;
            the same set for ever.
    """

    known: set[bytes]

    def opened(self, connection: "Connection[Item, Result]") -> None: ...
    def answered(self, connection: "Connection[Item, Result]", item: Item, outcome: Outcome | Result) -> None:
        """Take the outcome of a request; the connection is free, or closed if `connection.is_closing`."""

    def lost(self, connection: "Connection[Item, Result]", item: Item | None) -> None:
        """Forget a connection that is gone, and with it the item in flight."""

    def remember(self, answer: bytes) -> None: ...
    def judge(self, answer: Answer, connection: "Connection[Item, Result]") -> Outcome | Result: ...


class Connection(asyncio.Protocol, Generic[Item, Result]):
    """A request goes out, an answer comes in.

    Attributes:
        item: what is in flight.
        started_s: when the last request began, on the loop's clock.
        busy_s: when it was last seen at work, on the loop's clock.
        expires_s: when it is too old to be used again, on the loop's clock.
        fresh: it never waited idle, so that its loss cannot be due to a peer that had closed it in the meantime.
        keep: may be used again after the present answer.
        fate: what is in flight comes to once the connection is gone; None leaves that to its owner.
        has_answer_begun: bytes of the present answer have come.
        opening: what the owner asked it to be opened for.
        outdated: an item whose request was written by rules that have been replaced since.
    """

    __slots__ = (
        "_known",
        "_owner",
        "_reader",
        "_transport",
        "busy_s",
        "expires_s",
        "fate",
        "fresh",
        "has_answer_begun",
        "is_closing",
        "item",
        "keep",
        "opening",
        "outdated",
        "started_s",
    )

    def __init__(
        self, owner: ConnectionOwner[Item, Result], opening: object, bounds: AnswerBounds, expires_s: float
    ) -> None:
        self._owner = owner
        self._known: AbstractSet[bytes] = owner.known
        self._reader = AnswerReader(bounds)
        self.opening = opening
        self._transport: asyncio.Transport | None = None
        self.item: Item | None = None
        self.outdated: Item | None = None
        self.started_s = self.busy_s = 0.0
        self.expires_s = expires_s
        self.fresh = True
        self.keep = True
        self.is_closing = False
        self.has_answer_begun = False
        self.fate: Outcome | None = None

    @property
    def is_outdated(self) -> bool:
        """Return True if the request in flight was written by rules that have been replaced since."""
        return self.item is not None and self.item is self.outdated

    def send(self, item: Item, head: bytes, body: bytes | None, started_s: float) -> None:
        """Put a request on the wire; only while nothing is in flight."""
        transport = self._transport
        assert transport is not None
        self.item = item
        self.started_s = started_s
        if not body:
            transport.write(head)
        elif len(body) <= JOINED_BYTES_MAX:
            transport.write(head + body)
        else:
            self._known = NOTHING_KNOWN
            transport.writelines((head, body))

    def abort(self, fate: Outcome | None) -> None:
        """Abort the connection; the item in flight ends when the connection is gone, shortly after."""
        if not self.is_closing:
            self.is_closing = True
            self.fate = fate
            self._known = NOTHING_KNOWN
            self.drop()

    def retire(self) -> None:
        """Close it, with nothing in flight."""
        if not self.is_closing:
            self.is_closing = True
            assert self._transport is not None
            self._transport.close()

    def drop(self) -> None:
        """Abort the connection, even while it closes."""
        assert self._transport is not None
        self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class
        self._owner.opened(self)

    @override
    def data_received(self, data: bytes) -> None:
        item = self.item
        if data in self._known and item is not None:
            self.item = None
            self._owner.answered(self, item, DELIVERED)
        else:
            self._read(data)

    @override
    def eof_received(self) -> None:
        """End the answer if its body ends with the stream; else the item is lost."""
        if self.item is not None and not self.is_closing and (answer := self._reader.end()) is not None:
            self._end(answer)
        elif not self.is_closing:
            self.abort(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closing = True
        self._reader.close()
        item, self.item = self.item, None
        self._owner.lost(self, item)

    def _read(self, data: bytes) -> None:
        if self.is_closing:
            return
        if self.item is None:
            self.abort(None)
            return
        is_first = not self.has_answer_begun
        self.has_answer_begun = True
        self._known = NOTHING_KNOWN
        try:
            answer = self._reader.feed(data)
        except Nonsense as nonsense:
            self.abort(Retryable(code="nonsense", reason=str(nonsense)))
            return
        if answer is not None:
            self._end(answer, data if is_first else b"")

    def _end(self, answer: Answer, data: bytes = b"") -> None:
        """End the item; remember an answer of one piece that means Delivered and keeps the connection."""
        item = self.item
        assert item is not None
        outcome = self._owner.judge(answer, self)
        if outcome is DELIVERED and answer.reusable and 0 < len(data) <= KNOWN_BYTES_MAX:
            self._owner.remember(data)
        self.item = None
        self.has_answer_begun = False
        self._known = self._owner.known
        if self._is_unsent():
            self.abort(None)
        elif not (answer.reusable and self.keep):
            self.retire()
        self._owner.answered(self, item, outcome)

    def _is_unsent(self) -> bool:
        """Return True if the rest of a request is still to be sent after its answer, so that no other request can follow."""
        assert self._transport is not None
        return self._transport.get_write_buffer_size() > 0
