"""The other instances: asked all at once, each within a bound, and none left out because it does not answer."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import grpc
from grpc import aio

from mps.admin.v1 import admin_pb2 as pb
from mps.admin.v1 import admin_pb2_grpc as pb_grpc
from mpsd.admin.daemon import Steerable
from mpsd.config import Admin
from mpsd.listeners.grpc import MESSAGE_BYTES_MAX
from mpsd.listeners.reach import faults
from mpsd.listeners.tls import check_authorities
from mpsd.ports import Peer

INSTANCE_KEY = "mps-instance"
"""Metadata of a call to another instance: which one is meant. Whoever else is reached refuses the call."""
TIMEOUT_S_MAX = 10.0
"""However long the caller would wait."""
MARGIN = 0.2
"""Part of the caller's time that is kept for putting the answer together and sending it."""
CHANNELS_MAX = 256
"""Connections to other instances; the one that was not used for longest is closed first."""
PEERS_AT_ONCE = 64
PROBLEM_CHARS_MAX = 300
_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX * 16),  # 1,000 lanes with key and value
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),  # one that is back is seen with the next question
    ("grpc.enable_http_proxy", 0),
)

Response = TypeVar("Response")
Ask = Callable[[Any, float, Sequence[tuple[str, str]]], Awaitable[Response]]
"""Makes one call: with a stub, within so many seconds, with this metadata."""


class Answers(NamedTuple, Generic[Response]):
    """What the others said.

    Attributes:
        given: of those that answered, with who it was.
        silent: those that did not, and why.
    """

    given: Sequence[tuple[Peer, Response]]
    silent: Sequence[pb.Instance]


def peer_credentials(admin: Admin) -> grpc.ChannelCredentials | None:
    """How others are called: encrypted if this instance is; None for plain text.

    All instances of a fleet are configured alike: where clients need a certificate, this one shows its own.

    Raises:
        ConfigError: a file does not work.
    """
    tls = admin.tls
    if tls is None and admin.peers_ca is None:
        return None
    check_authorities("admin", admin.peers_ca)
    root = Path(admin.peers_ca).read_bytes() if admin.peers_ca else None
    shows = tls is not None and tls.client_ca is not None
    return grpc.ssl_channel_credentials(
        root,
        Path(tls.key).read_bytes() if tls is not None and shows else None,
        Path(tls.cert).read_bytes() if tls is not None and shows else None,
    )


class Fleet:
    """Asks the instances that share a group with this one.

    Holds at most: `CHANNELS_MAX` connections.
    """

    def __init__(self, daemon: Steerable, peer_timeout_s: float, credentials: grpc.ChannelCredentials | None) -> None:
        self._daemon = daemon
        self._timeout_s = min(peer_timeout_s, TIMEOUT_S_MAX)
        self._credentials = credentials
        self._channels: OrderedDict[str, aio.Channel] = OrderedDict()
        self._busy: dict[str, int] = {}
        self._gate = asyncio.Semaphore(PEERS_AT_ONCE)
        self._retired: list[aio.Channel] = []

    def renew(self, credentials: grpc.ChannelCredentials | None) -> None:
        """Call others with other certificates from the next call on; calls under way end as they began."""
        self._credentials = credentials
        self._retired += self._channels.values()
        self._channels.clear()

    def others(self, group: str = "") -> list[Peer]:
        """The members of a group, or of any, without this one."""
        peers = {
            peer
            for pipeline in self._daemon.pipelines
            if group in {"", pipeline.settings.sender.group}
            for peer in pipeline.peers
        }
        return sorted(peers - {self._daemon.peer})

    async def ask(
        self,
        peers: Iterable[Peer],
        ask: Ask[Response],
        metadata: Sequence[tuple[str, str]] = (),
        left_s: float | None = None,
        given_s: float | None = None,
        patience_s: float | None = None,
    ) -> Answers[Response]:
        """Ask all at once.

        Args:
            metadata: the caller's credentials.
            left_s: how long the caller will wait; None: for ever.
            given_s: how long they were asked for an answer in all, where this call is one of several; None: it is the
                first. Who is silent is said to have been so for this long.
            patience_s: how long one may take, up to `TIMEOUT_S_MAX`; None: as long as is configured.
        """
        bound_s = self._timeout_s if patience_s is None else max(self._timeout_s, min(patience_s, TIMEOUT_S_MAX))
        timeout_s = min(bound_s, left_s * (1 - MARGIN) if left_s is not None else TIMEOUT_S_MAX)
        peers = list(peers)
        wrong = faults({self._daemon.peer, *peers})
        found = await asyncio.gather(
            *(
                nothing_from(wrong[peer])
                if peer in wrong
                else self._ask(peer, ask, metadata, timeout_s, given_s or timeout_s)
                for peer in peers
            )
        )
        return Answers(
            [(peer, said) for peer, (said, _) in zip(peers, found, strict=True) if said is not None],
            [silent(peer, problem) for peer, (said, problem) in zip(peers, found, strict=True) if said is None],
        )

    async def _ask(
        self, peer: Peer, ask: Ask[Response], metadata: Sequence[tuple[str, str]], timeout_s: float, given_s: float
    ) -> tuple[Response | None, str]:
        address = peer.admin
        metadata = [*metadata, (INSTANCE_KEY, peer.instance)] if peer.instance else metadata
        self._busy[address] = self._busy.get(address, 0) + 1
        try:
            async with asyncio.timeout(timeout_s), self._gate:
                stub: Any = pb_grpc.AdminStub(self._channel(address))
                return await ask(stub, timeout_s, metadata), ""
        except TimeoutError:
            return None, f"no answer within {given_s:.3g} s"
        except aio.AioRpcError as error:
            return None, _problem(error, given_s)
        finally:
            self._busy[address] -= 1
            if not self._busy[address]:
                del self._busy[address]
            await self._close_oldest()

    def _channel(self, address: str) -> aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = (
                aio.secure_channel(address, self._credentials, _OPTIONS)
                if self._credentials is not None
                else aio.insecure_channel(address, _OPTIONS)
            )
            self._channels[address] = channel
        self._channels.move_to_end(address)
        return channel

    async def _close_oldest(self) -> None:
        while self._retired and not self._busy:
            await self._retired.pop().close()
        idle = [address for address in self._channels if address not in self._busy]
        for address in idle[: max(0, len(self._channels) - CHANNELS_MAX)]:
            await self._channels.pop(address).close()

    async def close(self) -> None:
        """Hang up; calls under way fail."""
        self._retired += self._channels.values()
        self._channels.clear()
        while self._retired:
            await self._retired.pop().close()


async def nothing_from(fault: str) -> tuple[None, str]:
    """Stand in for the answer of an instance that cannot be asked."""
    return None, fault


def silent(peer: Peer, problem: str) -> pb.Instance:
    """Describe an instance that did not answer."""
    return pb.Instance(
        address=peer.admin, answered=False, problem=problem, control_revision=-1, id=peer.instance, host=peer.host
    )


def _problem(error: aio.AioRpcError, given_s: float) -> str:
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no answer within {given_s:.3g} s"
        case grpc.StatusCode.UNIMPLEMENTED:
            return "its version does not know this call: bring it to this one"
        case grpc.StatusCode.UNAVAILABLE:
            return why(error.details() or "it is out of reach")[:PROBLEM_CHARS_MAX]
        case code:
            return f"{code.name}: {error.details()}"[:PROBLEM_CHARS_MAX]


def why(details: str) -> str:
    """The last words of gRPC's: it names the address, which is said already, and itself."""
    words = details.rpartition("last error: ")[2]
    return re.sub(r"^(?:[A-Z_]+: |ipv[46]:\S+: )+", "", words) or details
