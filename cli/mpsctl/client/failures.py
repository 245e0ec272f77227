"""Failures of calls, for the person who typed the command: a message, advice and an exit code."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from mpsctl.errors import CommandError, Exit
from mpsctl.settings import Settings, config_path

DETAILS = "grpc-status-details-bin"
CHANGED_HINT = "`mpsctl audit` shows which changes were made, `mpsctl status` which are in effect"
REPORT = "see its log; please report the failure, with the log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """The known facts about a call that had no answer.

    Attributes:
        connected: True if the daemon may have received the call.
        changes: True if the call was meant to change something.
    """

    timeout_s: float
    connected: bool
    changes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """The details of an error that the daemon made.

    Attributes:
        reason: a code of `docs/reference/errors.md`; empty: none.
        metadata: details that belong to the code.
        violations: pairs of a wrong field of the request and the reason why it is wrong.
    """

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[tuple[str, str]] = ()


def failure_of(error: grpc.RpcError, settings: Settings, silence: Silence) -> CommandError:
    """Return the failure for an error of any status but UNIMPLEMENTED."""
    status = error.code()
    message = " ".join((error.details() or "").split())
    details = _details(error)
    code = details.reason if details and details.reason else status.name.lower()
    match status:
        case grpc.StatusCode.UNAVAILABLE if details is None:
            return _unreachable(message, settings, silence)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return _no_answer(settings, silence)
        case grpc.StatusCode.UNAUTHENTICATED:
            hint = (
                "the daemon's tokens_file does not have this token"
                if settings.token
                else "give a token: --token-file FILE, MPSCTL_TOKEN_FILE, or token_file in the configuration file"
            )
            return CommandError(message or "the daemon needs a token or a client certificate", hint=hint, code=code)
        case grpc.StatusCode.INVALID_ARGUMENT:
            return CommandError(
                _with_violations(message, details), exit_code=Exit.USAGE, code=code, hint=_known(details)
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED if details is None:
            hint = "ask for less, with --limit or for one subscription; or try again in a moment"
            return CommandError(message, hint=hint, code=code)
        case grpc.StatusCode.INTERNAL | grpc.StatusCode.UNKNOWN if details is None:
            return CommandError(
                f"the daemon at {settings.address} failed: {message or status.name}", hint=REPORT, code=code
            )
        case _:
            return CommandError(message or status.name.lower(), hint=_known(details), code=code)


def too_old(method: str, address: str, version: str) -> CommandError:
    """Return the failure for a method that the daemon does not know."""
    from mpsctl import __version__  # noqa: PLC0415

    its = f"mpsd {version}" if version else "older than this mpsctl"
    needed = f"newer than {version}" if version == __version__ else f"{__version__} or newer, like this mpsctl"
    return CommandError(
        f"the daemon at {address} is {its} and does not know {method}",
        hint=f"the command needs mpsd {needed}; or use the mpsctl of the daemon's version",
        code="unimplemented",
    )


def _unreachable(message: str, settings: Settings, silence: Silence) -> CommandError:
    why = message.rpartition("last error: ")[2] or message
    why = re.sub(r"^\S+:\s+ipv[46]:\S+?:\d+:\s*|^UNKNOWN:\s*", "", why)
    lowered = why.lower()
    hint = (
        f"the address is from {settings.address_from}; to use another, give --address HOST:PORT, MPSCTL_ADDRESS, or"
        f" address in {config_path()}"
    )
    if "http1" in lowered or "http/1" in lowered or "http2" in lowered:
        hint = "this port does not speak gRPC; use the port of [admin] listen in the daemon's configuration, by default 7070"
    elif any(word in lowered for word in ("handshake", "ssl", "certificate", "tls")):
        hint = "the certificate must be for that host, and signed by an authority of --ca; or the port does not use TLS"
    elif not settings.tls and any(word in lowered for word in ("socket closed", "reset by peer", "connection reset")):
        hint = f"if the daemon uses TLS, give --tls or --ca FILE; {hint}"
    if "timed out" in lowered:
        hint = f"the daemon may be frozen, or the network drops the packets; try another daemon of the fleet: {hint}"
    if silence.connected and silence.changes:
        why += "; it is not known if the change was made"
        hint = CHANGED_HINT
    return CommandError(
        f"no daemon answers at {settings.address}: {why or 'no connection'}",
        hint=hint,
        exit_code=Exit.UNREACHABLE,
        code="unreachable",
    )


def _no_answer(settings: Settings, silence: Silence) -> CommandError:
    message = f"the daemon at {settings.address} did not answer within {silence.timeout_s:g} s"
    if silence.changes:
        message += ", also at the second try; it is not known if the change was made"
    hint = (
        CHANGED_HINT
        if silence.changes
        else "ask for less, wait longer with --timeout 60s, or ask another daemon with --address"
    )
    return CommandError(message, hint=hint, exit_code=Exit.UNREACHABLE, code="deadline_exceeded")


def _with_violations(message: str, details: Details | None) -> str:
    wrong = [f"{name}: {why}" for name, why in (details.violations if details else ()) if why not in message]
    return "; ".join([message, *wrong] if message else wrong) or "the daemon refuses an argument"


def _known(details: Details | None) -> str:
    """Return the existing names and the nearest one, if the daemon sent them."""
    if details is None:
        return ""
    nearest, known = details.metadata.get("nearest", ""), details.metadata.get("known", "")
    return "; ".join(
        ([f"did you mean {nearest}?"] if nearest else []) + ([f"there are: {known}"] if known else [])
    ) or details.metadata.get("hint", "")


def _details(error: grpc.RpcError) -> Details | None:
    """Return the details of an error; None if the daemon gave none, because the error is the channel's own."""
    trailing: Any = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    packed = next((value for key, value in trailing or () if key == DETAILS), None)
    if packed is None:
        return None
    from google.rpc import error_details_pb2, status_pb2  # noqa: PLC0415 - only failures pay for it

    try:
        status = status_pb2.Status.FromString(packed)
        info, wrong = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for each in status.details:
            each.Unpack(info)
            each.Unpack(wrong)
    except ValueError:  # DecodeError: somebody else's bytes under that name
        return Details()
    violations = [(each.field, each.description) for each in wrong.field_violations]
    return Details(reason=info.reason, metadata=dict(info.metadata), violations=violations)
