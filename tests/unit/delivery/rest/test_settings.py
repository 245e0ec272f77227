"""Endpoints of URLs."""

import pytest

from mpsd.config import ClientTls
from mpsd.delivery.rest import RestAdapter
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.errors import ConfigError
from tests.fakes.rest_delivery import changed, rest_delivery


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://billing", ("billing", 80, "billing", "/", False)),
        ("https://billing/", ("billing", 443, "billing", "/", True)),
        ("http://billing:8000/a/b?c=d", ("billing", 8000, "billing:8000", "/a/b?c=d", False)),
        ("http://billing?c=d", ("billing", 80, "billing", "/?c=d", False)),
        ("https://[::1]:8443/x", ("::1", 8443, "[::1]:8443", "/x", True)),
        ("http://[fe80::1%25eth0]/", ("fe80::1%eth0", 80, "[fe80::1%25eth0]", "/", False)),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: tuple[object, ...]) -> None:
    endpoint = Endpoint.of(url)
    assert (endpoint.host, endpoint.port, endpoint.authority, endpoint.target, endpoint.is_tls) == expected


@pytest.mark.parametrize(
    "url",
    [
        "billing:8000",
        "ftp://billing/",
        "http://",
        "http://user:word@billing/",
        "http://billing:99999/",
        "http://bill ing/",
        "http://billing/é",
        "http://billing/\r\nX: y",
    ],
)
def test_what_cannot_be_posted_to_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Endpoint.of(url)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"url": "http://user:word@billing/"}, "subscriptions.delivery.url"),
        ({"url": "http://billing/", "webhook_secrets": ("whsec_!",)}, "subscriptions.delivery.webhook_secrets"),
        ({"url": "https://billing/", "tls": ClientTls.model_construct(ca="/nowhere")}, "subscriptions.delivery.tls"),
    ],
)
def test_what_cannot_be_used_is_named(settings: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RestAdapter("billing", changed(rest_delivery(), **settings))
    (problem,) = caught.value.problems
    assert (problem.path, problem.subscription) == (path, "billing")
    assert "word" not in problem.message
