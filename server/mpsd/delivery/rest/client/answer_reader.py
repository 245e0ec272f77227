"""From the bytes of a connection to answers; the only importer of httptools.

Theory of operation: a final answer is whole when its body is, by Content-Length, by chunks, because its status has
none, or, where nothing else says so, when the peer ends the stream. Informational answers (1xx) are passed over, and
count towards the header bound of the answer they precede. A head over its bound is nonsense; of a body over its bound
the head still counts, but the connection does not.
"""

from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from mpsd.core.outcome import EXCERPT_BYTES_MAX

_SWITCHING_PROTOCOLS = 101


class Nonsense(Exception):  # noqa: N818 - what was received, not what went wrong here
    """Bytes that are no HTTP answer, or one beyond its bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerBounds:
    """The bytes of an answer to read, and of its body to keep."""

    header_bytes_max: int
    body_bytes_max: int
    kept_bytes_max: int = EXCERPT_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The parts of an HTTP answer that decide about a delivery.

    Attributes:
        verdict: `Mps-Verdict`, in lower case; empty if absent.
        reason: `Mps-Reason`; empty if absent.
        retry_after: `Retry-After`; empty if absent.
        body: as much of it as is kept.
        reusable: the connection can carry another request.
    """

    status: int
    verdict: bytes
    reason: bytes
    retry_after: bytes
    body: bytes
    reusable: bool


class AnswerReader:
    """A reader of the answers of one connection, one after the other.

    Holds at most: one head and a chunk as the transport reads it; of a body, as much as is kept, and a chunk.
    """

    __slots__ = (
        "_body_bytes",
        "_bounds",
        "_done",
        "_found",
        "_framed",
        "_head_bytes",
        "_in_body",
        "_kept",
        "_parser",
        "_raw_bytes",
        "_reusable",
        "_status",
        "_trailing",
    )

    def __init__(self, bounds: AnswerBounds) -> None:
        self._bounds = bounds
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._reset()

    def feed(self, data: bytes) -> Answer | None:
        """Read bytes; return the answer once it is complete or over its bound, else None.

        Raises:
            Nonsense: the connection must be given up.
        """
        assert self._parser is not None
        self._raw_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as error:
            raise Nonsense("switched to a protocol that nobody asked for") from error
        except HttpParserError as error:
            if not self._done:
                raise Nonsense(f"not an HTTP answer: {error}") from error
            self._trailing = True
        if self._head_bytes > self._bounds.header_bytes_max:
            raise Nonsense(f"headers of more than {self._bounds.header_bytes_max} bytes")
        if self._done:
            return self._take(reusable=self._reusable and not self._trailing)
        if self._in_body:
            return self._take(reusable=False) if self._is_body_over() else None
        if self._raw_bytes > self._bounds.header_bytes_max:
            raise Nonsense(f"headers of more than {self._bounds.header_bytes_max} bytes")
        return None

    def end(self) -> Answer | None:
        """Return the answer if its body ends with the stream, which the peer has ended; else None."""
        if self._in_body and not self._framed:
            return self._take(reusable=False)
        return None

    def close(self) -> None:
        """Drop the parser, because it refers back to this object."""
        self._parser = None

    def _reset(self) -> None:
        self._raw_bytes = 0
        self._head_bytes = 0
        self._body_bytes = 0
        self._done = False
        self._in_body = False
        self._framed = False
        self._reusable = False
        self._status = 0
        self._trailing = False
        self._found: dict[bytes, bytes] = {}
        self._kept: list[bytes] = []

    def _take(self, *, reusable: bool) -> Answer:
        found = self._found
        answer = Answer(
            status=self._status,
            verdict=found.get(b"mps-verdict", b"").strip().lower(),
            reason=found.get(b"mps-reason", b"").strip(),
            retry_after=found.get(b"retry-after", b""),
            body=b"".join(self._kept)[: self._bounds.kept_bytes_max] if self._kept else b"",
            reusable=reusable,
        )
        if answer.status == _SWITCHING_PROTOCOLS:
            raise Nonsense("switched to a protocol that nobody asked for")
        self._reset()
        return answer

    def _is_body_over(self) -> bool:
        """Return True if the body is over its bound; chunk sizes and trailers count, else they could go on for ever."""
        if self._body_bytes > self._bounds.body_bytes_max:
            return True
        return self._raw_bytes > self._bounds.header_bytes_max + self._bounds.body_bytes_max

    def on_message_begin(self) -> None:
        self._trailing = self._done

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._done:
            return
        self._head_bytes += len(name) + len(value) + 4
        name = name.lower()
        if name in _WANTED and not self._in_body:
            self._found.setdefault(name, value)
        elif name == b"content-length" or (name == b"transfer-encoding" and value.lower().endswith(b"chunked")):
            self._framed = True

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self._done:
            return
        self._status = self._parser.get_status_code()
        self._in_body = not _is_informational(self._status)

    def on_body(self, data: bytes) -> None:
        if self._done:
            return
        if self._body_bytes < self._bounds.kept_bytes_max:
            self._kept.append(data)
        self._body_bytes += len(data)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._done:
            return
        if _is_informational(self._status):
            self._found = {}
            self._framed = False
            return
        self._done = True
        self._reusable = self._parser.should_keep_alive()


_WANTED = frozenset({b"mps-verdict", b"mps-reason", b"retry-after"})


def _is_informational(status: int) -> bool:
    return 100 <= status < 200 and status != _SWITCHING_PROTOCOLS
