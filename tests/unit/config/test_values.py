"""Kinds of values, each with what it admits and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from mpsd.config.secret import FilePath
from mpsd.config.values import Address, ContentType, Headers, PeerAddress, Topic, Url, split_address


def refusal(kind: Any, value: object) -> str:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(kind).validate_python(value)
    return str(raised.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "https://a:8443/b?c=d",
        "http://[::1]:80/",
        "HTTP://A",
        "http://a/%20",
        "http://a/a/{topic}?b={header:c}",
    ],
)
def test_urls(url: str) -> None:
    assert TypeAdapter(Url).validate_python(url) == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "blank"),
        ("app/orders", 'has no scheme: write http:// or https:// before "app/orders"'),
        ("//app/orders", "has no scheme"),
        ("localhost:8000", 'has no scheme: write http:// or https:// before "localhost:8000"'),
        ("ftp://a", 'the scheme must be http or https, not "ftp"'),
        ("unix:///run/app.sock", 'the scheme must be http or https, not "unix"'),
        ("http:///orders", "names no host"),
        ("http://:80", "names no host"),
        ("http://a:0", "the port must be 1 to 65535"),
        ("http://a:99999", "is not a URL"),
        ("http://a:b", "is not a URL"),
        ("http://[::1", "is not a URL"),
        ("http://a b", "blank"),
        ("http://a/\n", "blank"),
        ("http://ä", "beyond ASCII"),
        ("http://u:p@a", "user name or password"),
        ("http://a/#b", "fragment"),
        ("http://{topic}/", "{topic} and {header:NAME} may stand in its path and query only"),
        ("http://{header:host}:80/", "{topic} and {header:NAME} may stand in its path and query only"),
        ("http://a:{header:port}/", "{topic} and {header:NAME} may stand in its path and query only"),
        ("{header:scheme}://a/", "{topic} and {header:NAME} may stand in its path and query only"),
        ("http://a/{partition}", "{partition} is unknown: there are {topic} and {header:NAME}"),
        ("http://a/{topic", "has a { or } without the other"),
        ("http://a/{topic}/../b", 'has a segment "." or ".."'),
        ("http://a/{topic}/{header:a\r\nb}", "blank"),
    ],
)
def test_urls_that_cannot_be_called(url: str, said: str) -> None:
    assert said in refusal(Url, url)


def test_addresses() -> None:
    assert split_address("127.0.0.1:0") == ("127.0.0.1", 0)
    assert split_address("[fe80::1%eth0]:65535") == ("fe80::1%eth0", 65_535)
    assert split_address("kafka-0.kafka:9092") == ("kafka-0.kafka", 9_092)


@pytest.mark.parametrize(
    "address", ["", "a", ":1", "a:", "a:b", "a:65536", "a:1:2", "::1:80", "[::1]", "a b:1", "u@a:1"]
)
def test_addresses_that_are_none(address: str) -> None:
    assert refusal(Address, address).startswith("must be host:port")


def test_an_address_for_others_is_one_they_can_reach() -> None:
    assert TypeAdapter(PeerAddress).validate_python("") == ""
    assert TypeAdapter(PeerAddress).validate_python("a:10") == "a:10"
    assert "port 0" in refusal(PeerAddress, "a:0")
    for everywhere in ("0.0.0.0:7070", "[::]:7070"):
        assert "is every address and leads nowhere" in refusal(PeerAddress, everywhere)


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "ä", "a/b", "a" * 250])
def test_topics_that_kafka_refuses(topic: str) -> None:
    assert "must be 1 to 249" in refusal(Topic, topic)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Mps-Epoch": "1"}, "is set by the daemon itself"),
        ({"host": "a"}, "is set by the daemon itself"),
        ({"Content-Type": "application/json"}, "is set by the daemon itself: use delivery.content_type"),
        ({"content-encoding": "gzip"}, "is set by the daemon itself"),
        ({"webhook-id": "a"}, "is set by the daemon itself"),
        ({"X A": "a"}, "is not a header name"),
        ({"": "a"}, "is not a header name"),
        ({"X-A": "a\r\nX-B: b"}, "line break"),
        ({"X-A": "\u20ac"}, "no header can carry"),
        ({"X-A": "a", "x-a": "b"}, "is there twice"),
        ({"Authorization": "Bearer a"}, "is a secret and never stands in the file"),
        ({"X-A": 3}, "must be a string"),
        ({"X-A": ""}, "must be a string"),
    ],
)
def test_headers_that_cannot_be_sent(headers: dict[str, object], said: str) -> None:
    assert said in refusal(Headers, headers)


def test_a_file_has_to_be_there(tmp_path: Path) -> None:
    assert "no file that can be read" in refusal(FilePath, str(tmp_path / "none"))
    assert "no file that can be read" in refusal(FilePath, str(tmp_path))
    assert "no file that can be read" in refusal(FilePath, "a\0b")
    assert "valid string" in refusal(FilePath, 3)
    (tmp_path / "ca.pem").touch()
    assert TypeAdapter(FilePath).validate_python(str(tmp_path / "ca.pem")) == str(tmp_path / "ca.pem")


@pytest.mark.parametrize("text", ["auto", "application/json", "text/csv; charset=utf-8", "application/vnd.a+json"])
def test_content_types(text: str) -> None:
    assert TypeAdapter(ContentType).validate_python(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "json", "Auto", "application/", "text/html\r\nX-Evil: 1", "text/html\n", " text/html", "text/é", "a/" * 600],
)
def test_content_types_that_are_none(text: str) -> None:
    assert refusal(ContentType, text).startswith('must be "auto" or a media type such as application/json, not "')
