"""Requests of callers: bodies within a bound, members of the right kind, and problem documents for all others."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from mpsd.delivery.pull.messages import Message
from mpsd.listeners.problem import problem

ERRORS_SHOWN_MAX = 10
"""Wrong members that are named; who sends a thousand needs no more to see what is wrong."""
CLOSE = {"connection": "close"}
"""The header of an answer to a body that was not read, so that the rest of it is not read as the next request."""
Request_ = TypeVar("Request_", bound=Message)


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """The request is answered with a problem document."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


def refused(status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> Refused:
    return Refused(problem(status, detail, headers))


async def body_of(request: Request, bytes_max: int) -> bytes:
    """Return the body; read no more than the bound.

    Raises:
        Refused: it is larger, or its sender went away.
    """
    too_large = refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is larger than the {bytes_max} bytes of http.body_bytes_max",
        CLOSE,
    )
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > bytes_max:
        raise too_large
    parts, size = list[bytes](), 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > bytes_max:
                raise too_large
            parts.append(part)
    except ClientDisconnect as error:
        raise refused(HTTPStatus.BAD_REQUEST, "the body ended before its length", CLOSE) from error
    return b"".join(parts)


def read(kind: type[Request_], body: bytes) -> Request_:
    """Return the message in the body.

    Raises:
        Refused: it is no JSON (400), or not this message (422); each wrong member is named.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        raise refused(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {found[0]['msg']}")
    errors = [{"field": _path(each["loc"]), "message": each["msg"]} for each in found[:ERRORS_SHOWN_MAX]]
    more = f", and {len(found) - len(errors)} more" if len(found) > len(errors) else ""
    detail = "; ".join(f"{each['field'] or 'body'}: {each['message']}" for each in errors) + more
    raise Refused(problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors))


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
