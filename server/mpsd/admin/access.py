"""Authentication and authorization of calls to the admin service.

    [admin] tokens_file    the token, or the name in the certificate, says who and which role
    [admin.tls] client_ca  without tokens: whoever has a certificate may do everything, under its name
    neither                whoever reaches the listener may do everything: `local` on the loopback, which is the default,
                           or elsewhere, where `insecure = true` was said, the address

Health and reflection are open to all: those who probe have no token, and what reflection describes is public.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc import aio
from typing_extensions import override

from mps.admin.v1 import admin_pb2
from mpsd.admin.calls import CALL, CALLER_KEY, Call, Context, allow
from mpsd.admin.fleet import INSTANCE_KEY
from mpsd.admin.refusals import OtherInstance, Unauthenticated, refuse
from mpsd.errors import MpsError
from mpsd.listeners.callers import names_in_context
from mpsd.listeners.rights import Caller, Role
from mpsd.listeners.tokens import Tokens

HIDDEN: Mapping[str, Sequence[str]] = {
    "DeadLetter": ("key",),
    "DeadLetterFilter": ("key",),
    "GetDeadLetterResponse": ("headers", "excerpt", "value"),
    "Lane": ("key", "value"),
    "PartitionStatus": ("paused_keys",),
    "Selection": ("key",),
}
"""Fields by message. Every field of `bytes` that can be in an answer is here, or below one that is."""
MARK = "content_hidden"
"""The field that says that something was taken out of its message."""


def hide(answer: Message) -> None:
    """Take the content of records and of the application's answers out of an answer, and mark where it was."""
    kind = answer.DESCRIPTOR
    hidden = HIDDEN.get(kind.name, ())
    for field, value in answer.ListFields():
        if field.name in hidden:
            answer.ClearField(field.name)
            setattr(answer, MARK, True)
        elif field.message_type is not None:
            for each in (value,) if isinstance(value, Message) else value:
                hide(each)


SERVICE = admin_pb2.DESCRIPTOR.services_by_name["Admin"].full_name
LOCAL = "local"
NAME_CHARS_MAX = 100
"""Longest name that is taken from a certificate: it stands in logs and audit records."""

_LARGE = {"Skip", "Reset", "StartReplay", "ControlReplay"}
"""Changes that lose records or deliver many of them again."""


def least_role(method: str) -> Role:
    """Return the least role that may call a method: a method that takes a `change` needs more than one that only reads."""
    if method in _LARGE:
        return Role.ADMIN
    takes = admin_pb2.DESCRIPTOR.services_by_name["Admin"].methods_by_name[method].input_type
    return Role.OPERATOR if "change" in takes.fields_by_name else Role.VIEWER


ROLES: Mapping[str, Role] = {
    method.name: least_role(method.name) for method in admin_pb2.DESCRIPTOR.services_by_name["Admin"].methods
}
"""The least role that may call a method, by its name."""


class Access(aio.ServerInterceptor):
    """An interceptor that refuses calls to the admin service that the caller may not make, and reports their errors.

    Args:
        tokens: who may call; None for everybody who can connect.
        needs_certificate: whether the listener takes only clients with a certificate that it trusts.
        instance: the id of this process; a call that is meant for another one is refused.
    """

    def __init__(self, tokens: Tokens | None, *, needs_certificate: bool = False, instance: str = "") -> None:
        self._tokens = tokens
        self._needs_certificate = needs_certificate
        self._instance = instance

    @override
    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """See `aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        service, _, method = handler_call_details.method.removeprefix("/").partition("/")
        if handler is None or service != SERVICE:
            return handler
        return self._checked(handler, method)

    def _checked(self, handler: Any, method: str) -> Any:
        serializers = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:

            async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
                try:
                    caller = self._admit(context, method)
                    async for answer in handler.unary_stream(request, context):
                        yield _shown_to(caller, answer)
                except MpsError as error:
                    await refuse(context, error)

            return grpc.unary_stream_rpc_method_handler(stream, **serializers)

        async def unary(request: Any, context: Context) -> Any:
            try:
                caller = self._admit(context, method)
                return _shown_to(caller, await handler.unary_unary(request, context))
            except MpsError as error:
                await refuse(context, error)

        return grpc.unary_unary_rpc_method_handler(unary, **serializers)

    def _admit(self, context: Context, method: str) -> Caller:
        self._check_instance(context)
        caller = self._caller(context)
        allow(caller, ROLES[method], method)
        metadata = context.invocation_metadata() or ()
        credentials = [(name, value) for name, value in metadata if name == "authorization" and isinstance(value, str)]
        CALL.set(Call(caller, credentials, context.time_remaining))
        return caller

    def _check_instance(self, context: Context) -> None:
        """Raise OtherInstance if the call is meant for another process that advertises, or had, this address."""
        meant = dict(context.invocation_metadata() or ()).get(INSTANCE_KEY, self._instance)
        if meant != self._instance:
            raise OtherInstance(
                f"daemon {self._instance} answers at the address that daemon {meant!r} advertises: the latter has"
                " ended, or both are reached there; set advertise of each daemon to an address that leads to it alone"
            )

    def _caller(self, context: Context) -> Caller:
        if self._tokens is not None:
            given = dict(context.invocation_metadata() or ()).get("authorization")
            certified = names_in_context(context.auth_context())
            caller = self._tokens.caller(given if isinstance(given, str) else None, certified)
            if caller is None:
                raise Unauthenticated(f"{_unknown(given, certified)}; callers and roles are in [admin] tokens_file")
            return _behind(caller, context) if caller.role is Role.DAEMON else caller
        name = _certified(context.auth_context()) if self._needs_certificate else _address(context.peer())
        return _behind(Caller(name, Role.ADMIN), context)  # it may do everything anyway: it is only said who is behind


def _shown_to(caller: Caller, answer: Any) -> Any:
    """Return an answer without what the caller may not see."""
    if not caller.sees_content:
        hide(answer)
    return answer


def _behind(caller: Caller, context: Context) -> Caller:
    """Return the caller under the name of the one that it calls for, if it is an instance that says so."""
    asked_by = dict(context.invocation_metadata() or ()).get(CALLER_KEY)
    if not isinstance(asked_by, bytes):
        return caller
    return caller._replace(name=f"{asked_by.decode(errors='replace')[:NAME_CHARS_MAX]} by way of {caller.name}")


def _unknown(given: object, certified: Sequence[str]) -> str:
    if given:
        return "the bearer token is not known here"
    if certified:
        return f"the client certificate of {certified[0][:NAME_CHARS_MAX]} is not known here"
    return "a bearer token is needed"


def _certified(auth_context: Mapping[str, Any]) -> str:
    """Return the name in a certificate: its common name, else the first of its alternative ones."""
    return next(iter(names_in_context(auth_context)), "certificate without a name")[:NAME_CHARS_MAX]


def _address(peer: str) -> str:
    """Return `local`, or the host of an anonymous caller; `peer` is such as `ipv4:127.0.0.1:4711`."""
    host = peer.partition(":")[2].rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = peer.startswith("unix:")
    return LOCAL if is_local else host
