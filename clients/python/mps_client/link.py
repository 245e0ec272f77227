"""The link to one daemon: one stream after the other, until the client leaves."""

import asyncio
import logging
import random
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from mps_client._stubs import delivery_pb2 as pb
from mps_client.errors import BadFrameError, SubscriptionRefused
from mps_client.inbox import Inbox
from mps_client.settings import Settings
from mps_client.statistics import Counters, DaemonStatistics
from mps_client.stream import Stream

METHOD = "/mps.delivery.v1.Delivery/Subscribe"
FRAME_BYTES_MAX = 128 << 20
"""Largest frame, for one very large record; credit and the daemon limit other frames."""
STABLE_S = 10.0
"""Time after which an open stream counts as a success, so that the next pause is short again."""
REFUSALS = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Statuses for which waiting does not help if no stream has ever opened."""

_OPTIONS = (
    ("grpc.max_receive_message_length", FRAME_BYTES_MAX),
    ("grpc.use_local_subchannel_pool", 1),  # a shared pool would share the pauses of all channels
    ("grpc.enable_retries", 0),
)
_logger = logging.getLogger("mps_client")


class Link:
    """A link to one daemon; `run` needs a task of its own.

    Args:
        on_news: called when a stream opens or ends and when the daemon advertises other addresses; returns False if every
            daemon refuses, so that the link does not connect again.

    Attributes:
        stream: the present stream; None: none.
        refusal: the error of the last stream, if it was refused and waiting does not help; else None.
    """

    def __init__(
        self, address: str, settings: Settings, inbox: Inbox, counters: Counters, on_news: Callable[[], bool]
    ) -> None:
        self.address = address
        self.stream: Stream | None = None
        self.refusal: SubscriptionRefused | None = None
        self._settings = settings
        self._inbox = inbox
        self._counters = counters
        self._on_news = on_news
        self._left = asyncio.Event()
        self._connects = self._failures = 0
        self._last_error = ""
        self._is_said_open = False

    def __repr__(self) -> str:
        return f"<Link {self.address} {self.stream} connects={self._connects} failures={self._failures}>"

    @property
    def is_open(self) -> bool:
        """True if the stream delivers records."""
        return self.stream is not None and self.stream.is_open

    def leave(self) -> None:
        """Close the stream when its running records are settled, and open no other."""
        self._left.set()
        if self.stream is not None:
            self.stream.leave()

    def statistics(self) -> DaemonStatistics:
        """Return the statistics of this daemon now."""
        return DaemonStatistics(
            address=self.address,
            session=self.stream.session if self.stream else "",
            is_open=self.is_open,
            unsettled=len(self.stream.unsettled) if self.stream else 0,
            connects=self._connects + bool(self.stream is not None and self.stream.session),
            failures=self._failures,
            last_error=self._last_error,
        )

    async def run(self) -> None:
        """Open one stream after the other until `leave`, or until every daemon refuses. Failures are logged and counted."""
        loop, failures = asyncio.get_running_loop(), 0
        while not self._left.is_set():
            began_s = loop.time()
            error = await self._stream()
            opened, is_of_use = self._close()
            failures = 1 if opened and loop.time() - began_s >= STABLE_S else failures + 1
            if self._left.is_set() or not is_of_use:
                return
            pause_s = backoff_s(failures, random.random())
            self._note(error, pause_s, opened=opened)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), pause_s)

    def _close(self) -> tuple[bool, bool]:
        """Record the end of the stream; return if it had been open, and if another one may be opened."""
        opened = self.stream is not None and bool(self.stream.session)
        self._connects += opened
        self.stream = None
        return opened, self._on_news()

    def _note(self, error: str, pause_s: float, *, opened: bool) -> None:
        """Log the end of a stream and the next step; a repeated error is logged at the level debug."""
        who = self._settings.subscription
        if not error:
            _logger.info("%s: %s closed the stream; reconnecting in %.1f s", who, self.address, pause_s)
        else:
            self._failures += 1
            log = _logger.debug if error == self._last_error else _logger.warning
            what = "lost the connection to" if opened else "cannot receive from"
            log("%s: %s %s: %s; reconnecting in %.1f s", who, what, self.address, error, pause_s)
        self._last_error = error

    def _on_stream_news(self) -> None:
        """Log the opening of the stream once, and pass the news on."""
        if self.stream is not None and self.stream.session and not self._is_said_open:
            self._is_said_open = True
            _logger.info("%s: connected to %s", self._settings.subscription, self.address)
        self._on_news()

    async def _stream(self) -> str:
        """Run one stream, and return the reason of its failure; empty if it ended normally."""
        try:
            metadata = self._settings.metadata
        except Exception as error:  # noqa: BLE001 - the boundary: a function of the application
            return f"the function that returns the token failed: {type(error).__name__}: {error}"
        channel = self._channel()
        try:
            call: Any = channel.stream_stream(
                METHOD,
                request_serializer=pb.SubscribeRequest.SerializeToString,
                response_deserializer=pb.SubscribeResponse.FromString,
            )(metadata=metadata)
            self._is_said_open = False
            self.stream = Stream(self._settings, call, self._inbox, self._counters, self._on_stream_news)
            await self.stream.run()
        except grpc.aio.AioRpcError as error:
            code = error.code()
            reason = describe(code, error.details() or "", self._settings.subscription)
            refused = SubscriptionRefused(self._settings.subscription, self.address, code.name, reason)
            self.refusal = refused if code in REFUSALS else None
            return reason
        except BadFrameError as error:
            return str(error)
        finally:
            await channel.close()
        return ""

    def _channel(self) -> grpc.aio.Channel:
        if self._settings.tls is None:
            return grpc.aio.insecure_channel(self.address, _OPTIONS)
        return grpc.aio.secure_channel(self.address, self._settings.tls, _OPTIONS)


INITIAL_S = 0.1
MAX_S = 10.0
"""Longest pause in seconds: short, so that clients find a restarted daemon, and long enough for a thousand clients."""


def backoff_s(failures: int, jitter: float) -> float:
    """Return the pause after so many failures in a row.

    Args:
        failures: number of failures, 1 or more.
        jitter: random number from 0 to 1.

    Source: full jitter, AWS Architecture Blog, "Exponential Backoff and Jitter".
    """
    return jitter * min(MAX_S, INITIAL_S * 2.0 ** min(failures - 1, 16))


def describe(code: grpc.StatusCode, details: str, subscription: str) -> str:
    """Return the reason why a stream ended, from the status and the details of the daemon or of gRPC."""
    cause = _cause(details)
    match code:
        case grpc.StatusCode.NOT_FOUND:
            return f"subscription {subscription} is not known there: {cause}"
        case grpc.StatusCode.FAILED_PRECONDITION:
            return f"subscription {subscription} is not delivered by streams: {cause}"
        case grpc.StatusCode.UNAUTHENTICATED:
            return f"the token was not accepted: {cause}"
        case grpc.StatusCode.PERMISSION_DENIED:
            return f"the token does not allow subscription {subscription}: {cause}"
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"no stream listener answers there, is it the address of [stream] listen? {cause}"
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return f"the daemon takes no more streams: {cause}"
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return cause
        case _:
            return f"{cause} ({code.name})"


def _cause(details: str) -> str:
    """Return the cause without the address and the layers that gRPC puts before it."""
    cause = details.rpartition("last error: ")[2]
    return re.sub(r"^(?:[A-Z_]+: |ipv[46]:\S+: )+", "", cause) or "it gave no reason"
