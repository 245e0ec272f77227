from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.target_template import VALUE_BYTES_MAX, Headers, TargetTemplate, UnfilledError

TENANT = "/v1/{topic}/{header:tenant}?by={header:tenant}"


def filled(target: str, *headers: tuple[str, bytes | None], topic: str = "orders") -> str:
    return TargetTemplate.of(target).fill(topic, headers).decode()


@pytest.mark.parametrize("target", ["/", "/orders?v=1", "/a%7Bb%7D", "/a/../b"])
def test_a_target_without_places_is_as_it_was(target: str) -> None:
    template = TargetTemplate.of(target)
    assert not template
    assert not template.needs_headers
    assert filled(target) == target


def test_a_topic_fills_its_place() -> None:
    template = TargetTemplate.of("/v1/{topic}/new")
    assert template
    assert not template.needs_headers
    assert filled("/v1/{topic}/new") == "/v1/orders/new"


def test_headers_fill_theirs_in_path_and_query() -> None:
    assert TargetTemplate.of(TENANT).needs_headers
    assert filled(TENANT, ("Tenant", b"x"), ("tenant", b"a/b c\xff"), ("tenant", b"later")) == (
        "/v1/orders/a%2Fb%20c%FF?by=a%2Fb%20c%FF"
    )


@pytest.mark.parametrize("value", [b"a\r\nX-Evil: 1", b"\x00", b"?x=1#y", b"a%2e%2e", b"{topic}", b"a;b=c", b"..."])
def test_no_value_leaves_its_place(value: bytes) -> None:
    path = filled("/t/{header:tenant}/end", ("tenant", value))
    assert path.startswith("/t/")
    assert path.endswith("/end")
    assert path.count("/") == 3
    assert not set(path) & set("?#;\r\n \\")
    assert unquote_to_bytes(path[3:-4]) == value


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ((), "its header tenant is missing or empty"),
        ((("tenant", None),), "its header tenant is missing or empty"),
        ((("tenant", b""),), "its header tenant is missing or empty"),
        ((("TENANT", b"a"),), "its header tenant is missing or empty"),
        ((("tenant", b"x" * 256),), "its header tenant has 256 bytes, of which 255 are allowed"),
        ((("tenant", b".."),), 'its headers would make a segment of the path "." or ".."'),
        ((("tenant", b"."),), 'its headers would make a segment of the path "." or ".."'),
        ((("tenant", b"../../admin"),), 'its headers would make a segment of the path "." or ".."'),
        ((("tenant", b"a/.."),), 'its headers would make a segment of the path "." or ".."'),
        ((("tenant", b"?/../.."),), 'its headers would make a segment of the path "." or ".."'),
        ((("tenant", b"%2e%2E"),), 'its headers would make a segment of the path "." or ".."'),
        ((("tenant", b"a%2F..%2Fb"),), 'its headers would make a segment of the path "." or ".."'),
        ((("tenant", b"..\\admin"),), 'its headers would make a segment of the path "." or ".."'),
    ],
)
def test_what_may_not_fill_a_place(headers: Headers, why: str) -> None:
    with pytest.raises(UnfilledError) as raised:
        filled("/t/{header:tenant}", *headers)
    assert str(raised.value) == why


@pytest.mark.parametrize(
    "target", ["/t/.{header:tenant}", "/t/%2E{header:tenant}", "/t/{header:tenant}{header:tenant}"]
)
def test_dots_are_put_together_before_they_are_judged(target: str) -> None:
    with pytest.raises(UnfilledError):
        filled(target, ("tenant", b"."))


def test_dots_of_a_query_are_only_dots() -> None:
    assert filled("/t?up={header:tenant}", ("tenant", b"../..")) == "/t?up=..%2F.."
    assert filled("/{header:a}/?/../{header:b}", ("a", b"x"), ("b", b"..")) == "/x/?/../.."


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/{partition}", "{partition} is unknown: there are {topic} and {header:NAME}"),
        ("/{}", "{} is unknown"),
        ("/{header:}", "{header:} is unknown"),
        ("/{header}", "{header} is unknown"),
        ("/{Topic}", "{Topic} is unknown"),
        ("/{header:a b}", "{header:a b} is unknown"),
        ("/{topic", "has a { or } without the other"),
        ("/topic}", "has a { or } without the other"),
        ("/{{topic}}", "has a { or } without the other"),
        ("/{topic}/../admin", 'has a segment "." or ".."'),
        ("/%2e%2E/{topic}", 'has a segment "." or ".."'),
        ("/{topic}/.", 'has a segment "." or ".."'),
        ("/" + "{topic}" * 5, "has 5 places to fill, of which 4 are allowed"),
    ],
)
def test_targets_that_are_none(target: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        TargetTemplate.of(target)
    assert why in str(raised.value)


@given(st.binary(min_size=1, max_size=VALUE_BYTES_MAX))
def test_any_value_comes_back_or_is_refused(value: bytes) -> None:
    try:
        path = filled("/t/{header:tenant}", ("tenant", value))
    except UnfilledError:
        assert b"." in value or b"%2e" in value.lower()
        return
    assert unquote_to_bytes(path.removeprefix("/t/")) == value
    assert len(path) <= 3 + 3 * VALUE_BYTES_MAX
