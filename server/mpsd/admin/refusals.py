"""Errors of the admin service, and the gRPC status of each."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

import grpc
from grpc import aio

from mpsd.errors import (
    ControlOff,
    ControlUnavailable,
    DeadLetterTopicGone,
    KafkaRefused,
    KafkaUnavailable,
    MpsError,
    RecordNotHere,
    ReplayRefused,
    RequestIdReused,
    RevisionConflict,
)
from mpsd.listeners.grpc_errors import abort

NAMES_SHOWN_MAX = 20


class InvalidArgument(MpsError):  # noqa: N818 - as gRPC names it
    """A field of the request is wrong.

    Attributes:
        fields: what is wrong, by the path of the field.
    """

    code = "admin.invalid_argument"

    def __init__(self, field: str, said: str) -> None:
        super().__init__(f"{field}: {said}")
        self.fields: Mapping[str, str] = {field: said}


class NotFound(MpsError):  # noqa: N818
    """The request names something that does not exist; the message lists what exists.

    Attributes:
        resource: its kind and its name.
    """

    code = "admin.not_found"

    def __init__(self, message: str, kind: str, name: str) -> None:
        super().__init__(message)
        self.resource = kind, name


class Unauthenticated(MpsError):  # noqa: N818
    """The caller is not known."""

    code = "admin.unauthenticated"


class PermissionDenied(MpsError):  # noqa: N818
    """The caller's role is too small, or the configuration does not allow it to anybody."""

    code = "admin.permission_denied"


class OtherInstance(MpsError):  # noqa: N818
    """The call is meant for another instance than the one that it has reached."""

    code = "admin.other_instance"


class TooManyWatchers(MpsError):  # noqa: N818
    """The maximum number of watches is reached."""

    code = "admin.too_many_watchers"


STATUS: Mapping[type[MpsError], grpc.StatusCode] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    OtherInstance: grpc.StatusCode.UNAVAILABLE,
    TooManyWatchers: grpc.StatusCode.RESOURCE_EXHAUSTED,
    KafkaUnavailable: grpc.StatusCode.UNAVAILABLE,
    KafkaRefused: grpc.StatusCode.FAILED_PRECONDITION,
    DeadLetterTopicGone: grpc.StatusCode.FAILED_PRECONDITION,
    ControlUnavailable: grpc.StatusCode.UNAVAILABLE,
    ControlOff: grpc.StatusCode.FAILED_PRECONDITION,
    RevisionConflict: grpc.StatusCode.FAILED_PRECONDITION,
    ReplayRefused: grpc.StatusCode.FAILED_PRECONDITION,
    RecordNotHere: grpc.StatusCode.FAILED_PRECONDITION,
    RequestIdReused: grpc.StatusCode.ALREADY_EXISTS,
}
"""The status of each error for the caller; one that is not here is a bug, and INTERNAL."""


async def refuse(context: aio.ServicerContext[Any, Any], error: MpsError) -> NoReturn:
    """End the call with what the error says."""
    fields = error.fields if isinstance(error, InvalidArgument) else None
    status = STATUS.get(type(error), grpc.StatusCode.INTERNAL)
    resource = error.resource if isinstance(error, NotFound) else None
    newer = {"revision": str(error.current), **error.state} if isinstance(error, RevisionConflict) else None
    await abort(context, status, str(error), reason=error.code, fields=fields, resource=resource, metadata=newer)


def unknown(kind: str, name: str, known: Collection[str]) -> NotFound:
    """Return an error that lists the known names, and the nearest one.

    Args:
        kind: such as `subscription`.
        name: what was asked for; may be anything.
    """
    shown = sorted(known)[:NAMES_SHOWN_MAX]
    more = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
    near = get_close_matches(name[:250], known, 1)
    meant = f'; did you mean "{near[0]}"?' if near else ""
    there = f"there are {', '.join(shown)}{more}" if shown else "there is none"
    return NotFound(f'no {kind} is named "{name[:250]}"; {there}{meant}', kind.split(maxsplit=1)[0], name[:250])
