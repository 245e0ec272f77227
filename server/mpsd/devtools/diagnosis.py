"""The reason why an ordinary record was not accepted, found by a few more requests and given as one piece of advice.

The daemon keeps of an answer only what decides about a record. Here the same request is made once more over a connection
of its own, so that all of the answer can be looked at, and variants of it: another media type, another end of the path,
another protocol.
"""

import json
import re
import ssl
import time
from dataclasses import replace
from urllib.parse import urljoin, urlsplit, urlunsplit

from mpsd.config import RestDelivery, reveal
from mpsd.core.answer_reason import one_line
from mpsd.core.delivery import Delivery
from mpsd.core.outcome import Delivered, Outcome, Rejected, Unavailable, Undeliverable
from mpsd.delivery.rest.client.connector import tls_context
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.client.handshake import describe_failure, shake_hands
from mpsd.delivery.rest.request import RequestHeads
from mpsd.devtools.advice import Advice
from mpsd.devtools.deliverer import SUBSCRIPTION, StepResult
from mpsd.devtools.samples import Sample, Step, deliveries
from mpsd.devtools.wire import HTTP_2_PREFACE, REDIS_PING, Reply, exchange, is_whole, protocol_of, reply_of, speaks_tls

LOOK_S_MAX = 5.0
"""Longest wait for an answer to a diagnostic request; nothing is lost by not waiting longer."""
ROUTES_MAX = 8
SLASH_WANTED = b"end in a slash"
"""Django's words, with DEBUG, for a POST that it would otherwise redirect."""
_CONTENT_TYPE = re.compile(rb"\r\nContent-Type: ([^\r\n]*)", re.IGNORECASE)
_GATEWAYS = {502: "Bad Gateway", 504: "Gateway Timeout"}


class Diagnosis:
    """Diagnostic requests to one endpoint."""

    def __init__(self, settings: RestDelivery) -> None:
        self._endpoint = Endpoint.of(settings.url)
        self._url = reveal(settings.url)
        self._settings = settings
        self._is_batch = settings.batch.records_max > 1
        self._timeout_s = min(LOOK_S_MAX, settings.timeout_s)
        self._context: ssl.SSLContext | None = tls_context(settings.tls) if self._endpoint.is_tls else None

    async def of(self, normal: StepResult, *, has_own: bool) -> str:
        """Return why the ordinary record was not accepted and what to do, in words; empty where the answer was a success.

        Args:
            has_own: the record is one of the user's.
        """
        outcome = next((each for each in normal.outcomes if not isinstance(each, Delivered)), None)
        if outcome is None:
            return ""
        if not normal.answers:
            return await self._no_answer(outcome)
        (delivery,) = deliveries(Step(name="normal", title="", samples=normal.step.samples[:1]), 0)
        status = normal.answers[0].status
        reason = f"answered {status}"
        if 200 <= status < 300:
            return ""
        if 300 <= status < 400:
            return await self._redirected(delivery, reason)
        match status:
            case 400 if self._context is None and await speaks_tls(self._endpoint, self._timeout_s):
                return f"{reason}: the port speaks TLS; write {self._with_scheme('https')}"
            case 404:
                return await self._no_path(delivery, reason)
            case 405:
                return await self._no_method(delivery, reason)
            case 403 | 419 | 422 if b"csrf" in normal.answers[0].body.lower():
                return (
                    f"{reason}: it wants a CSRF token, which is for browsers; exempt this path (Django: @csrf_exempt)"
                )
            case 401 | 402 | 403 | 407:
                return (
                    f"{reason}: it wants credentials; here --header 'Authorization: Bearer …', in the configuration"
                    " delivery.auth or delivery.headers"
                )
            case 502 | 504:
                return (
                    f"{reason}: a gateway answers ({_GATEWAYS[status]}), and does not reach the application behind it"
                )
            case _:
                return await self._refused(delivery, outcome, reason, has_own=has_own)

    async def lost_headers(self, normal: Sample) -> Advice | None:
        """Return advice on record headers whose names are lost on the way; None if all arrive, or if nobody can tell."""
        marks = {name: f"mark{number}of{time.time_ns()}" for number, name in enumerate(AWKWARD)}
        headers = tuple((name, mark.encode()) for name, mark in marks.items())
        sample = replace(normal, headers=(*normal.headers, *headers))
        (delivery,) = deliveries(Step(name="headers", title="", samples=[sample]), 0)
        reply = await self._send(self._request(delivery))
        if reply is None:
            return None
        lost = [name for name, mark in marks.items() if mark.encode() not in reply.body]
        if PLAIN in lost:
            return None
        text = LOST[self._settings.record_headers].format(", ".join(lost))
        return Advice(level="problem", step="headers", text=text) if lost else None

    async def _no_answer(self, outcome: Outcome) -> str:
        reason = str(getattr(outcome, "reason", ""))
        if isinstance(outcome, Rejected | Undeliverable):
            return f"no request was sent: {reason}; give records that can be with --records FILE"
        if isinstance(outcome, Unavailable) and outcome.code in {"refused", "unresolved", "unreachable"}:
            return f"no answer: {reason}; start the application, or correct the URL"
        spoken = await self._protocol()
        match spoken:
            case "":
                return f"no answer: {await self._handshake() or reason}"
            case "TLS":
                return f"the port speaks TLS; write {self._with_scheme('https')}"
            case "HTTP/1.1" if self._context is not None:
                return f"the port speaks HTTP without TLS; write {self._with_scheme('http')}"
            case "HTTP/1.1":
                return f"no answer: {reason}"
            case "HTTP/2":
                return (
                    "the port speaks HTTP/2 only; let the server speak HTTP/1.1 too, or put a proxy before it that does"
                )
            case _:
                return f"the port speaks {spoken}, not HTTP; correct the host and port of the URL"

    async def _handshake(self) -> str:
        """Return what keeps a TLS handshake from succeeding; empty if nothing does, or if the URL is not https."""
        if self._context is None:
            return ""
        try:
            await shake_hands(self._endpoint, self._context, self._timeout_s)
        except TimeoutError:
            return ""
        except OSError as error:
            return describe_failure(
                error, has_certificate=self._settings.tls is not None and self._settings.tls.cert is not None
            )
        return ""

    async def _protocol(self) -> str:
        """Return what the port speaks; the port is asked in one way after the other until it says something."""
        endpoint, timeout_s = self._endpoint, self._timeout_s
        asked = b"OPTIONS * HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % endpoint.authority.encode()
        if self._context is not None and (
            spoken := protocol_of(await exchange(endpoint, asked, timeout_s, self._context))
        ):
            return spoken
        if spoken := protocol_of(await exchange(endpoint, asked, timeout_s)):
            return spoken
        if self._context is None and await speaks_tls(endpoint, timeout_s):
            return "TLS"
        for greeting in (HTTP_2_PREFACE, REDIS_PING):
            if spoken := protocol_of(await exchange(endpoint, greeting, timeout_s)):
                return spoken
        return ""

    async def _redirected(self, delivery: Delivery, reason: str) -> str:
        reply = await self._send(self._request(delivery))
        location = reply.headers.get("location", "") if reply is not None else ""
        if not location:
            return f"{reason}: a redirect, which the daemon does not follow; name the right URL"
        target = one_line(urljoin(self._url, location))
        return f"{reason}: it redirects to {target}{_difference(self._url, target)}; the daemon follows no redirect: use that URL"

    async def _no_path(self, delivery: Delivery, reason: str) -> str:
        other = _with_other_end(self._url)
        if other is not None:
            reply = await self._send(self._request(delivery, other))
            if reply is not None and reply.status not in {404, 405} and not 300 <= reply.status < 400:
                has = "with" if other.endswith("/") else "without"
                return f"{reason}: this path is not there, but {other} is, {has} a trailing slash; use that URL"
        return f"{reason}: this path is not there{await self._known()}; correct the path of the URL"

    async def _no_method(self, delivery: Delivery, reason: str) -> str:
        reply = await self._send(self._request(delivery))
        allowed = one_line(reply.headers.get("allow", "")) if reply is not None else ""
        takes = f": the path takes {allowed}" if allowed else ""
        sent = f"this method is not allowed, and records are sent by {self._settings.method}"
        other = "PUT" if self._settings.method == "POST" else "POST"
        if other in {method.strip().upper() for method in allowed.split(",")}:
            return f'{reason}: {sent}{takes}; set delivery.method = "{other}" (here --method {other})'
        return f"{reason}: {sent}{takes}{await self._known()}; correct the path of the URL"

    async def _refused(self, delivery: Delivery, outcome: Outcome, reason: str, *, has_own: bool) -> str:
        """Say what the application wants, where another media type or another end of the path shows it."""
        other = _with_other_end(self._url)
        request = self._request(delivery)
        if other is not None and not isinstance(outcome, Rejected):
            reply = await self._send(request)
            if reply is not None and SLASH_WANTED in reply.body:
                return f"{reason}: the path wants a trailing slash; use {other}"
        sent_as = found[1].decode("latin-1") if (found := _CONTENT_TYPE.search(request)) is not None else "no type"
        if isinstance(outcome, Rejected) and not self._is_batch and sent_as != "application/json":
            reply = await self._send(_CONTENT_TYPE.sub(b"\r\nContent-Type: application/json", request, count=1))
            if reply is not None and 200 <= reply.status < 300:
                return (
                    f"{reason}: it is accepted as application/json, and was sent as {sent_as}; let producers set the record"
                    ' header content-type, or set delivery.content_type = "application/json"'
                )
        if isinstance(outcome, Rejected) and self._is_batch:
            alone = await self._send(request)
            if alone is not None and 200 <= alone.status < 300:
                return (
                    f"{reason}: it takes one record in a request, and no batch; leave delivery.batch.records_max at 1"
                )
        if isinstance(outcome, Rejected) and outcome.status == 415:
            return f"{reason}: it does not take {sent_as}; set delivery.content_type to what it takes"
        if isinstance(outcome, Rejected) and not has_own:
            return f"{reason}: the sample record is not one of yours; give records that it should accept with --records FILE"
        return f"{reason}: the normal record was not accepted; the application's log should say more"

    async def _known(self) -> str:
        """Return the paths that the application's own OpenAPI document has, as FastAPI serves it; empty: none."""
        method, host = self._settings.method, self._endpoint.authority.encode()
        reply = await self._send(b"GET /openapi.json HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host)
        if reply is None or reply.status != 200:
            return ""
        try:
            paths = json.loads(reply.body)["paths"]
            routes = [one_line(path) for path, item in paths.items() if method.lower() in item][:ROUTES_MAX]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return ""
        return f"; its OpenAPI document has {method} {', '.join(routes)}" if routes else ""

    def _request(self, delivery: Delivery, url: str = "") -> bytes:
        """Return the request as the daemon writes it, except that the connection ends with the answer."""
        endpoint = Endpoint.of(url) if url else self._endpoint
        head = RequestHeads(SUBSCRIPTION, self._settings, endpoint, time.time).head(delivery)
        line, _, rest = head.partition(b"\r\n")
        return b"%b\r\nConnection: close\r\n%b%b" % (line, rest, delivery.record.value or b"")

    async def _send(self, request: bytes) -> Reply | None:
        return reply_of(await exchange(self._endpoint, request, self._timeout_s, self._context, is_whole))

    def _with_scheme(self, scheme: str) -> str:
        return urlunsplit(urlsplit(self._url)._replace(scheme=scheme))


PLAIN = "plain"
AWKWARD = (PLAIN, "ce_type", "__TypeId__", "my.header")
"""Names of record headers: one that nobody drops, and those that nginx and gunicorn drop unless told otherwise."""
LOST = {
    "separate": "record headers {} do not arrive: a server or proxy on the way drops names with _ or . silently; leave"
    ' delivery.record_headers at "combined", the default',
    "combined": "record headers {} do not arrive: what stands in Mps-Headers is changed on the way",
}


def _with_other_end(url: str) -> str | None:
    """Return the URL with a trailing slash where it has none, without where it has one; None for the root."""
    parts = urlsplit(url)
    if not parts.path.strip("/"):
        return None
    return urlunsplit(parts._replace(path=parts.path[:-1] if parts.path.endswith("/") else parts.path + "/"))


def _difference(url: str, target: str) -> str:
    """Return what tells a redirect's target from the URL, where it is one of the classics."""
    if target == _with_other_end(url):
        return f" (the trailing slash is the difference: it wants {'one' if target.endswith('/') else 'none'})"
    if target.partition("://")[2] == url.partition("://")[2]:
        return " (TLS is the difference)"
    return ""
