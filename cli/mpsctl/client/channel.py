"""The channel to a daemon: TLS, the token, deadlines, and a second try of a change whose answer was lost."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import grpc
from google.protobuf.message import Message
from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mps.admin.v1.admin_pb2_grpc import AdminStub
from mpsctl.client.failures import Silence, failure_of, too_old
from mpsctl.settings import Settings

READ_S = 15.0
"""Time limit of a question: the daemon waits at most 10 s for the other daemons."""
CHANGE_S = 30.0
"""Time limit of a change: the daemon writes it within 10 s and waits at most 10 s for confirmations."""
CONNECT_MS = 5_000
"""Time limit of a connection, so that a stopped daemon, or a network that drops packets, differs from a slow daemon."""
AGAIN_S = 15.0
"""Time limit of the second try of a change, which waits for a daemon that restarts."""
VERSION_S = 2.0
"""Time limit of the question for the version of a daemon that does not know a method."""
MESSAGE_BYTES_MAX = 67_108_864
"""Size of one answer: 1,000 lanes or dead letters of the largest size, or thousands of partitions."""
PAGE_MAX = 1_000
"""Largest page that a daemon sends."""
LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

QuestionT_contra = TypeVar("QuestionT_contra", bound=Message, contravariant=True)
AnswerT_co = TypeVar("AnswerT_co", bound=Message, covariant=True)


class Method(Protocol[QuestionT_contra, AnswerT_co]):
    """A unary call of the stub."""

    def __call__(
        self,
        request: QuestionT_contra,
        /,
        *,
        timeout: float | None = ...,
        metadata: tuple[tuple[str, str], ...] | None = ...,
        wait_for_ready: bool | None = ...,
    ) -> AnswerT_co: ...


class Pages(NamedTuple):
    """The entries of a list that is read page by page.

    Attributes:
        first: the answer with the first page.
        more: True if the list has more entries than were asked for.
    """

    first: Any
    entries: list[Any]
    more: bool


class Client:
    """The client of one daemon. A call that fails raises `CommandError` and no other error."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channel = _channel(settings)
        self._metadata = (("authorization", f"Bearer {settings.token}"),) if settings.token else ()
        self.admin = AdminStub(self._channel)

    @override
    def __repr__(self) -> str:
        return f"<Client of {self._settings.address}>"

    @property
    def address(self) -> str:
        return self._settings.address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def ask(
        self, method: Method[QuestionT_contra, AnswerT_co], request: QuestionT_contra, timeout_s: float | None = None
    ) -> AnswerT_co:
        """Call once.

        Args:
            timeout_s: the time limit; None: as the settings say, else `READ_S`.
        """
        return self._call(method, request, timeout_s or self._settings.timeout_s or READ_S)

    def collect(self, method: Any, request: Any, field: str, limit: int) -> Pages:
        """Read a list page by page, until the limit or its end.

        Args:
            field: the field of the answers that has the entries.
        """
        request.page_size = min(limit, PAGE_MAX)
        first = answer = self.ask(method, request)
        found = [*getattr(answer, field)]
        while answer.next_page_token and len(found) < limit:
            request.page_token = answer.next_page_token
            request.page_size = min(limit - len(found), PAGE_MAX)
            answer = self.ask(method, request)
            found += getattr(answer, field)
        return Pages(first, found[:limit], more=bool(answer.next_page_token) or len(found) > limit)

    def change(self, method: Method[QuestionT_contra, AnswerT_co], request: QuestionT_contra) -> AnswerT_co:
        """Call, and repeat the call with the same request id if the answer was lost; the daemon makes the change once."""
        timeout_s = self._settings.timeout_s or CHANGE_S
        try:
            return method(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            if error.code() not in LOST or not _was_connected(error):
                raise self._failure(error, request, timeout_s) from None
        return self._call(method, request, min(timeout_s, AGAIN_S), wait=True)

    def watch(self, request: pb.WatchStatusRequest) -> Iterator[pb.Status]:
        """Yield the status again and again, until the iterator is closed."""
        call = self.admin.WatchStatus(request, metadata=self._metadata)
        try:
            for answer in call:
                yield answer.status
        except grpc.RpcError as error:
            raise self._failure(error, request, 0.0) from None
        finally:
            call.cancel()

    def _call(
        self,
        method: Method[QuestionT_contra, AnswerT_co],
        request: QuestionT_contra,
        timeout_s: float,
        *,
        wait: bool = False,
    ) -> AnswerT_co:
        try:
            return method(request, timeout=timeout_s, metadata=self._metadata, wait_for_ready=wait)
        except grpc.RpcError as error:
            raise self._failure(error, request, timeout_s) from None

    def _failure(self, error: grpc.RpcError, request: Message, timeout_s: float) -> Exception:
        name = request.DESCRIPTOR.name.removesuffix("Request")
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return too_old(name, self._settings.address, self._version())
        silence = Silence(timeout_s=timeout_s, connected=_was_connected(error), changes=hasattr(request, "change"))
        return failure_of(error, self._settings, silence)

    def _version(self) -> str:
        """Return the version of the daemon; empty if it is not known."""
        with suppress(grpc.RpcError):
            request = pb.GetVersionRequest()
            return self.admin.GetVersion(request, timeout=VERSION_S, metadata=self._metadata).version
        return ""


def _was_connected(error: grpc.RpcError) -> bool:
    """Return True if the daemon may have received the call."""
    return error.code() is not grpc.StatusCode.UNAVAILABLE or "failed to connect" not in (error.details() or "")


def _channel(settings: Settings) -> grpc.Channel:
    options = (
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.initial_reconnect_backoff_ms", 250),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", 2_000),  # an operator waits for it
        ("grpc.enable_http_proxy", 0),  # a daemon is not on the internet
        ("grpc.enable_retries", 0),  # `change` decides what is retried
    )
    if not settings.tls:
        return grpc.insecure_channel(settings.address, options)
    credentials = grpc.ssl_channel_credentials(settings.ca, settings.key, settings.cert)
    return grpc.secure_channel(settings.address, credentials, options)
