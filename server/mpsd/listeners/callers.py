"""Callers of a request: names in client certificates, and HTTP responses that refuse."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mpsd.listeners.problem import problem
from mpsd.listeners.rights import Caller
from mpsd.listeners.tokens import Tokens

CERTIFIED = "mps.certified"
"""The extension of an ASGI scope that holds the names in the client's certificate."""
CHALLENGE = {"www-authenticate": 'Bearer realm="mpsd"'}


def names_in(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the common name and the alternative names of a verified certificate.

    Args:
        certificate: as `ssl.SSLSocket.getpeercert` has it; None or empty without one.
    """
    if not certificate:
        return ()
    subject = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    return tuple(dict.fromkeys((*subject, *(str(value) for _, value in certificate.get("subjectAltName", ())))))


def names_in_context(auth_context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """Return the same of a gRPC call; empty where the client has shown no certificate."""
    kinds = ("x509_common_name", "x509_subject_alternative_name")
    found = [bytes(value).decode(errors="replace") for kind in kinds for value in auth_context.get(kind, ())]
    return tuple(dict.fromkeys(name for name in found if name))


def caller_of(request: Request, tokens: Tokens) -> Caller | None:
    """Return who has sent a request; None for nobody we know."""
    certified = request.scope.get("extensions", {}).get(CERTIFIED, ())
    return tokens.caller(request.headers.get("authorization"), certified)


def unknown_caller() -> Response:
    """Return the answer to a caller that nobody knows."""
    detail = "a bearer token or a client certificate of [http] tokens_file is needed"
    return problem(HTTPStatus.UNAUTHORIZED, detail, CHALLENGE)


def forbidden(detail: str) -> Response:
    """Return the answer to a caller whose rights do not suffice."""
    return problem(HTTPStatus.FORBIDDEN, detail)
