"""The protocol of a port by its first bytes, and whole answers."""

import pytest

from mpsd.devtools.wire import is_whole, protocol_of, reply_of


@pytest.mark.parametrize(
    ("received", "protocol"),
    [
        (b"HTTP/1.0 400 Bad Request\r\n", "HTTP/1.1"),
        (bytes.fromhex("15030300020228"), "TLS"),
        (bytes.fromhex("000012040000000000") + bytes(18), "HTTP/2"),
        (bytes.fromhex("000008070000000000") + bytes(8), "HTTP/2"),
        (b"-ERR unknown command\r\n", "Redis"),
        (b"-NOAUTH Authentication required.\r\n", "Redis"),
        (b"+PONG\r\n", "Redis"),
        (b"+OK POP3 ready\r\n", "POP3"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (b"220 mail.example ESMTP\r\n", "SMTP or FTP"),
        (b"J\x00\x00\x00\x0a8.0.36\x00mysql_native_password\x00", "MySQL"),
        (b"hello", ""),
        (b"\x00\x00", ""),
        (b"", ""),
    ],
)
def test_a_protocol_is_known_by_its_first_bytes(received: bytes, protocol: str) -> None:
    assert protocol_of(received) == protocol


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("received", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc", b"abc"),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", b"a"),
        (CHUNKED, b"abcde"),
    ],
)
def test_an_answer_is_read_however_its_end_is_said(received: bytes, body: bytes) -> None:
    reply = reply_of(received)
    assert reply is not None
    assert (reply.status, reply.body) == (200, body)


@pytest.mark.parametrize(
    "received", [b"", b"+OK\r\n", b"HTTP/1.1", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000]
)
def test_what_is_no_answer_is_none(received: bytes) -> None:
    assert reply_of(received) is None


def test_of_a_header_that_repeats_the_first_counts() -> None:
    reply = reply_of(b"HTTP/1.1 307 X\r\nLocation: /a\r\nlocation: /b\r\nContent-Length: 0\r\n\r\n")
    assert reply is not None
    assert reply.headers["location"] == "/a"


@pytest.mark.parametrize("received", [CHUNKED, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", b"+OK\r\n"])
def test_what_is_whole_is_told_from_each_part_of_it(received: bytes) -> None:
    assert is_whole(received)
    assert received.startswith(b"+") or not any(is_whole(received[:end]) for end in range(1, len(received)))
