"""The kinds of values that TOML does not have, each with the rule that admits it."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from mpsd.config.secret import SECRET_SCHEMA, Secret, SecretValue, TextValue, read_secret, refuse, reveal
from mpsd.config.shapes import Allowed, shown
from mpsd.core.content_type import AUTO, is_media_type
from mpsd.core.target_template import TargetTemplate


class Table(BaseModel):
    """A table of the configuration: frozen, strictly typed, without room for unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True)


MASK = "***"
"""The text that stands where something is not shown."""
ENV_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"env": {"type": "string"}},
    "required": ["env"],
    "additionalProperties": False,
}
TEXT_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, ENV_SCHEMA]}
"""A text, or the environment variable that holds it; see `references`."""
TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_TEXT = re.compile(r"[\x20-\x7e\x80-\xff\t]+")
HEADERS_OF_OURS = re.compile(
    r"(mps|webhook|ce)-.*|content-(type|length|encoding)|host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect"
    r"|idempotency-key|traceparent|tracestate",
    re.IGNORECASE,
)
HEADERS_THAT_TELL = re.compile(r"(proxy-)?authorization|cookie", re.IGNORECASE)
RECORD_HEADER_CHARS_MAX = 128
WEBHOOK_SECRET_BYTES = range(24, 65)
"""Source: Standard Webhooks 1.0, "Signature scheme": 24 to 64 bytes of key."""


def _read_url(given: object, info: ValidationInfo) -> str | Secret:
    if isinstance(given, str):
        if "@" in urlsplit_or_refuse(given).netloc:
            refuse("holds a user name or password: use delivery.auth.basic, or write the whole URL as a secret")
        _check_url(given)
        return given
    if not isinstance(given, Secret | dict):
        refuse('must be an http:// or https:// URL, { env = "NAME" } or { file = "path" }')
    secret = read_secret(given, info)
    secret.must(partial(_check_secret_url, f"the secret in {secret.kind} {secret.name}"))
    return secret


def _check_secret_url(what: str, url: str) -> None:
    """Check a secret URL, which may have a user name; no message shows any part of it."""
    try:
        _check_url(url)
    except ValueError:
        refuse(f"{what} is not an http:// or https:// URL without blanks and fragment")


def urlsplit_or_refuse(url: str) -> SplitResult:
    """Return the parts of a URL."""
    if not re.fullmatch(r"[!-~]+", url):
        refuse("has a blank, a control character or one beyond ASCII: percent-encode it")
    if re.match(r"(?:[^/?#]*//)?[^/?#]*[{}]", url):
        refuse("{topic} and {header:NAME} may stand in its path and query only")
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError as error:
        refuse(f"is not a URL: {str(error).split(':', maxsplit=1)[0]}")
    return parts


def _check_url(url: str) -> None:
    parts = urlsplit_or_refuse(url)
    if not parts.scheme or (not parts.netloc and "//" not in url):
        refuse(f"has no scheme: write http:// or https:// before {shown(url.partition('?')[0])}")
    if parts.scheme not in {"http", "https"}:
        refuse(f"the scheme must be http or https, not {shown(parts.scheme)}")
    if not parts.hostname:
        refuse("names no host")
    if parts.port == 0:
        refuse("the port must be 1 to 65535")
    if parts.fragment:
        refuse("has a fragment (#…), which is never sent")
    try:
        TargetTemplate.of(url.partition("//")[2].partition(parts.netloc)[2])
    except ValueError as error:
        refuse(str(error))


def split_user(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return a URL without the user name and password that stand in it, and those."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    name, _, password = user.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(name), unquote(password))


def masked_url(url: str | Secret) -> str:
    """Return a URL for people: without user name, password and query, which may be secrets; of a secret only the host."""
    parts = urlsplit(reveal(url))
    host = parts.netloc.rpartition("@")[2]
    if isinstance(url, Secret):
        return f"{parts.scheme}://{host}/{MASK}"
    return f"{parts.scheme}://{host}{parts.path}" + (f"?{MASK}" if parts.query else "")


EVERYWHERE = ("0.0.0.0", "::")
"""Hosts that stand for all addresses of a machine."""


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[ipv6]:port`.

    Raises:
        ValueError: it is neither.
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%[0-9A-Za-z._-]+)?)\]|([^\s:/@\[\]]+)):([0-9]{1,5})", address)
    if not found or int(found[3]) > 65_535:
        raise ValueError(address)
    return found[1] or found[2], int(found[3])


def _check_address(address: str) -> str:
    try:
        split_address(address)
    except ValueError:
        refuse(f"must be host:port, not {shown(address)}")
    return address


def _check_peer(address: str) -> str:
    if not address:
        return address
    host, port = split_address(_check_address(address))
    if not port:
        refuse("port 0 cannot be reached: write the port that listens there")
    if host in EVERYWHERE:
        refuse(
            f"{shown(host)} is every address and leads nowhere: write the one that leads to this daemon, or leave it empty"
        )
    return address


def _check_topic(topic: str) -> str:
    if not TOPIC.fullmatch(topic) or topic in {".", ".."}:
        refuse(f"must be 1 to 249 of the characters a-z A-Z 0-9 . _ -, not {shown(topic)}")
    return topic


def _read_start(given: object) -> object:
    if isinstance(given, str) and given not in {"earliest", "latest"}:
        try:
            given = datetime.fromisoformat(given)
        except ValueError:
            refuse(f'must be "earliest", "latest" or an RFC 3339 time, not {shown(given)}')
    if not isinstance(given, str | datetime):
        refuse(f'must be "earliest", "latest" or an RFC 3339 time, not {shown(given)}')
    if isinstance(given, datetime) and given.tzinfo is None:
        refuse("the time needs its offset from UTC, such as 2026-01-31T12:00:00Z")
    return given


def _check_header_name(name: str) -> str:
    if not HEADER_NAME.fullmatch(name):
        refuse("is not a header name: letters, digits and - only")
    if name.lower() == "content-type":
        refuse("is set by the daemon itself: use delivery.content_type")
    if HEADERS_OF_OURS.fullmatch(name):
        refuse("is set by the daemon itself")
    return name


def _check_content_type(text: str) -> str:
    if text != AUTO and not is_media_type(text.encode()):
        refuse(f'must be "auto" or a media type such as application/json, not {shown(text)}')
    return text


def _check_headers(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    names = [name.lower() for name in headers]
    for name, text in headers.items():
        if names.count(name.lower()) > 1:
            refuse(f"{shown(name)} is there twice: the case of a header's name means nothing")
        if isinstance(text, str) and HEADERS_THAT_TELL.fullmatch(name):
            refuse(f'{shown(name)} is a secret and never stands in the file itself: write {{ env = "NAME" }}')
        rule = partial(_check_header_text, f"the value of {shown(name)}")
        if isinstance(text, Secret):
            text.must(rule)
        else:
            rule(text)
    return headers


def _check_header_text(what: str, text: str) -> None:
    if not HEADER_TEXT.fullmatch(text):
        refuse(f"{what} has a line break or another character that no header can carry")


def _check_bearer(secret: Secret) -> Secret:
    secret.must(partial(_check_header_text, f"the secret in {secret.kind} {secret.name}"))
    return secret


def _check_webhook_secret(secret: Secret) -> Secret:
    secret.must(partial(_check_webhook_key, f"{secret.kind} {secret.name}"))
    return secret


def _check_webhook_key(where: str, text: str) -> None:
    scheme, _, key = text.partition("_")
    try:
        size = len(b64decode(key, validate=True))
    except (Base64Error, ValueError):
        size = 0
    if scheme != "whsec" or size not in WEBHOOK_SECRET_BYTES:
        refuse(f"the secret in {where} must be whsec_ and then 24 to 64 bytes in base64")


def _check_idempotency_key(source: str) -> str:
    name = idempotency_header(source)
    if source != "record" and not (name and len(name) <= RECORD_HEADER_CHARS_MAX and name.isprintable()):
        refuse(
            f'must be "record" or "header:" and the name of a record header of {RECORD_HEADER_CHARS_MAX} characters at'
            f" most, not {shown(source)}"
        )
    return source


def idempotency_header(source: str) -> str:
    """Return the record header that idempotency keys are taken from; empty: they are the records' ids."""
    kind, _, name = source.partition(":")
    return name if kind == "header" else ""


def _read_status(given: object) -> object:
    return int(given) if isinstance(given, str) and re.fullmatch(r"[1-5][0-9][0-9]", given) else given


Url = Annotated[
    str | Secret,
    PlainValidator(_read_url),
    Allowed('an http:// or https:// URL, or a secret: { env = "NAME" } or { file = "path" }'),
    WithJsonSchema({"anyOf": [{"type": "string"}, SECRET_SCHEMA]}),
]
IdempotencyKey = Annotated[str, AfterValidator(_check_idempotency_key), Allowed('"record" or "header:NAME"')]
Address = Annotated[str, AfterValidator(_check_address), Allowed("host:port")]
PeerAddress = Annotated[str, AfterValidator(_check_peer), Allowed("host:port or empty")]
Topic = Annotated[
    str,
    AfterValidator(_check_topic),
    Allowed('a topic\'s name (1 to 249 of a-z A-Z 0-9 . _ -) or { env = "NAME" }'),
    WithJsonSchema(TEXT_SCHEMA),
]
Group = Annotated[
    str,
    Field(min_length=1, max_length=255),
    Allowed('a text of 1 to 255 characters or { env = "NAME" }'),
    WithJsonSchema(TEXT_SCHEMA),
]
InternalTopic = Annotated[
    str, AfterValidator(lambda topic: topic and _check_topic(topic)), Allowed("a topic's name or empty")
]
DeadLetterTopic = Annotated[
    str,
    AfterValidator(lambda topic: topic and _check_topic(topic)),
    Allowed('a topic\'s name, { env = "NAME" } or empty'),
    WithJsonSchema(TEXT_SCHEMA),
]
Start = Annotated[
    Literal["earliest", "latest"] | datetime,
    BeforeValidator(_read_start),
    Allowed('"earliest", "latest" or an RFC 3339 time'),
]
ContentType = Annotated[str, AfterValidator(_check_content_type), Allowed('"auto" or a media type')]
HeaderName = Annotated[str, AfterValidator(_check_header_name)]
Headers = Annotated[
    Mapping[HeaderName, TextValue],
    AfterValidator(_check_headers),
    Allowed("a table of header names, each with a text or a secret"),
]
BearerToken = Annotated[
    SecretValue, AfterValidator(_check_bearer), Allowed('a secret: { env = "NAME" } or { file = "path" }')
]
WebhookSecret = Annotated[
    SecretValue, AfterValidator(_check_webhook_secret), Allowed('a secret: { env = "NAME" } or { file = "path" }')
]
Status = Annotated[
    int,
    BeforeValidator(_read_status),
    Field(ge=100, le=599),
    Allowed("a status code from 100 to 599"),
    WithJsonSchema({"type": "string", "pattern": "^[1-5][0-9][0-9]$"}),
]
