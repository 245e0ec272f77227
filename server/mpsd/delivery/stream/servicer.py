"""`mps.delivery.v1.Delivery/Subscribe`: from the call to the stream, and how either ends.

Frames pass as bytes: the listener neither parses nor writes them, so that each record is written once, and a frame that
cannot be parsed is answered with words.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NoReturn

import grpc
from grpc import aio

from mps.delivery.v1 import delivery_pb2
from mps.delivery.v1.delivery_pb2 import Open
from mpsd.core.outcome import Retryable
from mpsd.delivery.stream.adapter import StreamAdapter
from mpsd.delivery.stream.requests import BadFrame, opening, printable
from mpsd.delivery.stream.session import Client, Session
from mpsd.delivery.stream.streams import Streams
from mpsd.listeners.callers import names_in_context
from mpsd.listeners.grpc_errors import abort
from mpsd.listeners.rights import Caller
from mpsd.listeners.tokens import Tokens

log = logging.getLogger("mpsd.stream")

SERVICE = delivery_pb2.DESCRIPTOR.services_by_name["Delivery"].full_name
OPEN_WITHIN_S = 10.0
"""Time that a call may last without its first frame; longer than any network takes, and a bound on idle calls."""
PARTING_S = 1.0
"""Time that a client that has closed its side has to show that it is still there; else the stream counts as lost."""

Context = aio.ServicerContext[Any, Any]


class DeliveryServicer:
    """Serves the streams of all subscriptions.

    Holds at most: `streams_max` calls.

    Args:
        adapters: by the subscription's name; those which stream.
        others: names of subscriptions which do not.
        tokens: who may call; None for everybody.
        open_within_s: how long a call may last without its first frame.
    """

    def __init__(
        self,
        adapters: Mapping[str, StreamAdapter],
        others: set[str],
        streams_max: int,
        tokens: Tokens | None = None,
        open_within_s: float = OPEN_WITHIN_S,
    ) -> None:
        self._adapters = adapters
        self._others = others
        self._streams_max = streams_max
        self._tokens = tokens
        self._open_within_s = open_within_s
        self.calls = 0

    def add_to(self, server: aio.Server) -> None:
        """Serve there."""
        handler: Any = grpc.stream_stream_rpc_method_handler(self.subscribe)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Subscribe": handler}),))

    async def subscribe(self, _: object, context: Context) -> None:
        """Serve one call."""
        caller = await self._caller(context)
        if self.calls >= self._streams_max:
            message = f"{self.calls} streams are open, and [stream] streams_max allows no more"
            await abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, message, reason="STREAMS_MAX")
        self.calls += 1
        try:
            await self._serve(context, caller)
        finally:
            self.calls -= 1

    async def _caller(self, context: Context) -> Caller | None:
        """Return who calls; None where everybody may."""
        if self._tokens is None:
            return None
        given = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        caller = self._tokens.caller(given.get("authorization"), names_in_context(context.auth_context()))
        if caller is None:
            message = (
                "a bearer token of [stream] tokens_file is needed in the metadata `authorization`, or a client certificate"
                " that it names"
            )
            await abort(context, grpc.StatusCode.UNAUTHENTICATED, message, reason="TOKEN_UNKNOWN")
        return caller

    async def _serve(self, context: Context, caller: Caller | None) -> None:
        first = await _first(context, self._open_within_s)
        if first is None:
            return
        name = first.subscription
        if caller is not None and (message := caller.refusal(printable(name))):
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, message, reason="SUBSCRIPTION_DENIED")
        adapter = self._adapters.get(name) or await self._unknown(context, name)
        client = Client(printable(first.client), context.peer())
        if (opened := adapter.open(first, client)) is None:
            message = f"subscription {name} takes no streams now: the daemon is starting or shutting down"
            await abort(context, grpc.StatusCode.UNAVAILABLE, message, reason="SHUTTING_DOWN")
        await _converse(context, name, *opened)

    async def _unknown(self, context: Context, name: str) -> NoReturn:
        if name in self._others:
            message = f"subscription {name} is delivered by another protocol: see its delivery.protocol"
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, message, reason="SUBSCRIPTION_NOT_STREAMED")
        message = f"no subscription of the name {printable(name)!r}"
        await abort(context, grpc.StatusCode.NOT_FOUND, message, reason="SUBSCRIPTION_UNKNOWN")


async def _first(context: Context, within_s: float) -> Open | None:
    """Return the frame that opens the stream; None if the client ended the call without one."""
    try:
        async with asyncio.timeout(within_s):
            data = await context.read()
        return None if data is aio.EOF else opening(data)
    except TimeoutError:
        await _refuse(context, BadFrame("open", f"did not come within {within_s:g} s"))
    except BadFrame as error:
        await _refuse(context, error)


async def _converse(context: Context, subscription: str, streams: Streams, session: Session) -> None:
    """Read and write at once, until one of them ends; what is not settled then is settled at once."""
    who = f"{session.client.name or 'a client'} at {session.client.peer}"
    extra = {"subscription": subscription}
    log.info("%s: stream %s of %s is open", subscription, session.name, who, extra={"code": "stream.opened", **extra})
    lost = Retryable(code="stream_lost", reason=f"the stream of {who} was lost", lost=True)
    reader = asyncio.create_task(_read(context, streams, session))
    writer = asyncio.create_task(session.write_frames(context.write, streams.may_send, streams.moved))
    try:
        await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        if reader.done() and not writer.done():
            reader.result()
            session.half_close()
            streams.moved(session)
            await asyncio.wait({writer}, timeout=PARTING_S)
        if writer.done():
            writer.result()
            streams.closed(session)
    except BadFrame as error:
        streams.lost(session, Retryable(code="bad_frame", reason=f"the stream of {who} ended: {error}", lost=True))
        await _cancelled(reader, writer)
        await _refuse(context, error)
    except aio.BaseError:
        return  # nobody is there to be written to
    finally:
        streams.lost(session, lost)
        log.info(
            "%s: stream %s of %s has ended", subscription, session.name, who, extra={"code": "stream.closed", **extra}
        )
        await _cancelled(reader, writer)
    if not session.is_half_closed:
        await abort(context, grpc.StatusCode.UNAVAILABLE, "the daemon shuts down", reason="SHUTTING_DOWN")


async def _read(context: Context, streams: Streams, session: Session) -> None:
    """Read frames until the client has closed its side.

    Raises:
        BadFrame: the client's fault.
    """
    while (data := await context.read()) is not aio.EOF:
        streams.receive(session, data)


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _refuse(context: Context, error: BadFrame) -> NoReturn:
    await abort(
        context,
        grpc.StatusCode.INVALID_ARGUMENT,
        str(error),
        reason="BAD_FRAME",
        fields={error.field: error.problem},
    )
