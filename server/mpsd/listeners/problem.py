"""Errors as an HTTP client reads them: RFC 9457 problem documents."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.responses import Response

_RENAMED = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Names that RFC 9110 gave, and that `http` of the standard library has from Python 3.13 on."""


class WrongMember(BaseModel):
    """A member of the request's body that is wrong."""

    field: str = Field(description="Where it stands, such as `settlements[0].verdict`; empty for the whole body.")
    message: str


class Problem(BaseModel):
    """The body of every error response. Source: RFC 9457."""

    type: str
    title: str
    status: int
    detail: str = Field(description="About this very request, and what to do instead.")
    errors: list[WrongMember] = Field(default=[], description="Absent where the body is not to blame.")


def phrase(status: HTTPStatus) -> str:
    """Return the name of the status in RFC 9110, the same on each Python."""
    return _RENAMED.get(status, status.phrase)


def problem(
    status: HTTPStatus,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, str]] = (),
) -> Response:
    """Return a response with a problem document.

    Args:
        detail: about this very request, and what to do instead.
        errors: each with `field` and `message`, where members of the request's body are wrong.
    """
    body: dict[str, object] = {
        "type": "about:blank",
        "title": phrase(status),
        "status": status.value,
        "detail": detail,
    }
    if errors:
        body["errors"] = [dict(error) for error in errors]
    return Response(json.dumps(body), status.value, headers=dict(headers or {}), media_type="application/problem+json")
