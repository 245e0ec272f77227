"""Every answer of the contract, byte for byte, and every way of not answering."""

from email.utils import formatdate

import pytest

from mpsd.core.outcome import DELIVERED, Delivered, Outcome, Rejected, Retryable, Unavailable
from mpsd.core.status_table import Meaning
from tests.conformance.deliveries import deliveries, delivery
from tests.conformance.http_server import Peer, Script
from tests.conformance.rest_stage import rest

CODE_UNREADABLE = "delivery.retry_after_unreadable"
ROWS: dict[type[Outcome], list[int]] = {
    Delivered: [200, 201, 202, 204, 299],
    Rejected: [400, 406, 409, 411, 413, 414, 415, 416, 418, 422, 431, 451],
    Retryable: [408, 425, 500, 501, 505, 507, 599],
    Unavailable: [301, 302, 304, 307, 401, 402, 403, 404, 405, 407, 410, 421, 426, 429, 502, 503, 504],
}


def answering(*args: object, **kwargs: object) -> Script:
    """Return a server that gives every request the same answer; see `Peer.answer`."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(*args, **kwargs)  # type: ignore[arg-type]

    return script


def sending(*pieces: bytes, then: str = "wait") -> Script:
    """Return a server that answers each request with these bytes, then waits, ends, half-closes or resets the connection."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            for piece in pieces:
                await peer.send(piece)
            match then:
                case "end":
                    return
                case "reset":
                    peer.reset()
                    return
                case "half-close":
                    peer.writer.write_eof()
                    await peer.gone()
                    return
                case _:
                    assert then == "wait"

    return script


@pytest.mark.parametrize(("row", "status"), [(row, status) for row, them in ROWS.items() for status in them])
async def test_every_row_of_the_status_table(row: type[Outcome], status: int) -> None:
    async with rest(answering(status)) as stage:
        for each in deliveries(2):
            outcome = await stage.outcome(each)
            assert isinstance(outcome, row)
            assert isinstance(outcome, Delivered) or outcome.status == status  # type: ignore[union-attr]
            if isinstance(outcome, Unavailable):
                assert outcome.throttled is (status in {429, 503})
        assert stage.server.connections == 1


@pytest.mark.parametrize(
    ("meaning", "expected"),
    [
        (Meaning.DELIVERED, Delivered),
        (Meaning.RETRY, Retryable),
        (Meaning.DEAD_LETTER, Rejected),
        (Meaning.THROTTLE, Unavailable),
        (Meaning.UNAVAILABLE, Unavailable),
    ],
)
@pytest.mark.parametrize("status", [200, 404, 418, 503])
async def test_an_operator_moves_any_status(meaning: Meaning, expected: type[Outcome], status: int) -> None:
    async with rest(answering(status), status={status: meaning}) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, expected)
        if isinstance(outcome, Unavailable):
            assert outcome.throttled is (meaning is Meaning.THROTTLE)


@pytest.mark.parametrize("status", [200, 404, 422, 500, 503])
async def test_an_explicit_verdict_counts_more_than_the_status(status: int) -> None:
    async with rest(answering(status, "Mps-Verdict: Retry", "Mps-Reason: stock is being counted")) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.status) == ("verdict_retry", status)
        assert outcome.reason.endswith("stock is being counted")
    async with rest(answering(status, "mps-verdict:dead-letter")) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Rejected)
        assert outcome.code == "verdict_dead_letter"


FASTAPI = b'{"detail":[{"type":"missing","loc":["body","id"],"msg":"Field required","input":{"card":"4111"}}]}'


@pytest.mark.parametrize("status", [404, 422, 500, 503])
async def test_the_reason_is_the_message_in_the_body_and_never_the_input_that_it_quotes(status: int) -> None:
    async with rest(answering(status, body=FASTAPI)) as stage:
        outcome = await stage.outcome(delivery())
        assert not isinstance(outcome, Delivered)
        assert outcome.reason == f"answered {status}: body.id: Field required (missing)"


async def test_a_reason_in_a_header_counts_more_than_the_body() -> None:
    async with rest(answering(422, "Mps-Reason: not an order", body=FASTAPI)) as stage:
        assert (await stage.outcome(delivery())).reason == "answered 422: not an order"  # type: ignore[union-attr]


async def test_an_operator_keeps_the_body_out_of_the_reason() -> None:
    async with rest(answering(422, body=FASTAPI), reason="header") as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Rejected)
        assert (outcome.reason, outcome.excerpt) == ("answered 422", FASTAPI)


async def test_a_verdict_that_nobody_knows_leaves_it_to_the_status() -> None:
    async with rest(answering(200, "Mps-Verdict: maybe")) as stage:
        assert await stage.outcome(delivery()) is DELIVERED


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_retry_after_is_honoured_with_every_retry_and_capped(status: int) -> None:
    async with rest(answering(status, "Retry-After: 7")) as stage:
        assert (await stage.outcome(delivery())).retry_after_s == 7.0  # type: ignore[union-attr]
    async with rest(answering(status, "Retry-After: 70000")) as stage:
        assert (await stage.outcome(delivery())).retry_after_s == 300.0  # type: ignore[union-attr]
    async with rest(answering(status, f"Retry-After: {formatdate(1_000_060, usegmt=True)}")) as stage:
        assert (await stage.outcome(delivery())).retry_after_s == 60.0  # type: ignore[union-attr]
    async with rest(answering(status, "Retry-After: 1.5")) as stage:
        assert (await stage.outcome(delivery())).retry_after_s == 1.5  # type: ignore[union-attr]
    async with rest(answering(status)) as stage:
        assert (await stage.outcome(delivery())).retry_after_s is None  # type: ignore[union-attr]


async def test_a_retry_after_that_cannot_be_read_is_a_second_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async with rest(answering(503, "Retry-After: so\ton")) as stage:
        for each in deliveries(3):
            assert (await stage.outcome(each)).retry_after_s == 1.0  # type: ignore[union-attr]
    [said] = [record.getMessage() for record in caplog.records if record.__dict__.get("code") == CODE_UNREADABLE]
    assert said == (
        'cannot read Retry-After of an answer 503: "so?on" is neither seconds nor a date; waiting 1 s or longer each time'
    )


async def test_a_retry_after_beside_success_means_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with rest(answering(200, "Retry-After: soon")) as stage:
        assert await stage.outcome(delivery()) == DELIVERED
    assert not caplog.records


async def test_an_excerpt_of_the_body_is_kept() -> None:
    async with rest(answering(422, body=b"x" * 5000)) as stage:
        assert (await stage.outcome(delivery())).excerpt == b"x" * 1024  # type: ignore[union-attr]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    "pieces",
    [
        [OK],
        [bytes([byte]) for byte in OK],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + OK],
        [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n", OK],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nDigest: x\r\n\r\n"],
        [b"HTTP/1.1 204 No Content\r\n\r\n"],
        [b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"],
        [b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"],
    ],
)
async def test_answers_that_leave_the_connection_usable(pieces: list[bytes]) -> None:
    async with rest(sending(*pieces)) as stage:
        for each in deliveries(3):
            assert await stage.outcome(each) is DELIVERED
        assert stage.server.connections == 1


@pytest.mark.parametrize(
    ("answer", "then"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "wait"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "end"),
        (b"HTTP/1.1 200 OK\r\n\r\nup to the end", "end"),
        (b"HTTP/1.1 200 OK\r\n\r\nup to the end", "half-close"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "wait"),
        (b"HTTP/1.0 200 OK\r\n\r\nok", "end"),
        (OK + b"and more than was promised", "wait"),
        (OK + OK, "wait"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 70_000, "wait"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 40_000, "wait"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"x" * 200_000, "wait"),
    ],
)
async def test_answers_that_count_but_end_the_connection(answer: bytes, then: str) -> None:
    async with rest(sending(answer, then=then)) as stage:
        for each in deliveries(3):
            assert await stage.outcome(each) is DELIVERED
        assert stage.server.connections == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x00" * 10_000,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 30_000,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 30_000 + b"\r\n",
        b"HTTP/1.1 200 " + b"x" * 200_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
    ],
)
async def test_nonsense_costs_an_attempt_and_the_connection(answer: bytes) -> None:
    async with rest(sending(answer)) as stage:
        for each in deliveries(2):
            outcome = await stage.outcome(each)
            assert isinstance(outcome, Retryable)
            assert (outcome.code, outcome.lost) == ("nonsense", False)
        assert stage.server.connections == 2


@pytest.mark.parametrize("then", ["end", "reset", "half-close"])
@pytest.mark.parametrize(
    "answer", [b"", b"HT", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"]
)
async def test_an_answer_cut_short_is_a_lost_delivery(answer: bytes, then: str) -> None:
    async with rest(sending(answer, then=then)) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.lost) == ("connection_lost", True)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"]
)
async def test_an_answer_that_does_not_end_times_out(answer: bytes) -> None:
    async with rest(sending(answer), timeout_s=0.1) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Retryable)
        assert (outcome.code, outcome.lost) == ("timeout", True)
        await stage.server.watch.until(lambda: stage.server.open == 0)
