"""Errors over gRPC: a status code and a message for people, `google.rpc` details for programs."""

from collections.abc import Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo
from google.rpc.status_pb2 import Status
from grpc import aio

DOMAIN = "kafka-mps"
DETAILS_KEY = "grpc-status-details-bin"
"""The key under which clients of every language look for the details; the `-bin` lets it be bytes.

Source: google.rpc.Status, and "Richer error model" in gRPC's guide to error handling.
"""


async def abort(
    context: aio.ServicerContext[Any, Any],
    code: grpc.StatusCode,
    message: str,
    *,
    reason: str,
    fields: Mapping[str, str] | None = None,
    resource: tuple[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> NoReturn:
    """End the call with an error.

    Args:
        reason: what went wrong for programs, in UPPER_SNAKE_CASE; it stays the same when the words change.
        fields: of the request that are wrong, by path, and what is wrong with each.
        resource: kind and name of what is not there.
        metadata: more of what went wrong for programs.

    Raises:
        grpc.aio.AbortError: always; it is to be let through.
    """
    details: list[Message] = [ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)]
    if fields:
        violations = [BadRequest.FieldViolation(field=field, description=said) for field, said in fields.items()]
        details.append(BadRequest(field_violations=violations))
    if resource:
        kind, name = resource
        details.append(ResourceInfo(resource_type=kind, resource_name=name, description=message))
    status = Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail, deterministic=True)
        status.details.append(packed)
    await context.abort(code, message, ((DETAILS_KEY, status.SerializeToString(deterministic=True)),))
    raise AssertionError("abort returned")
