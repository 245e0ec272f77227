"""Failures of a stream, in sentences for whoever reads the log."""

import re

import grpc


def sentence(code: grpc.StatusCode, details: str, subscription: str) -> str:
    """Say why a stream ended, by its status and what the daemon, or gRPC, said of it."""
    words = _last_words(details)
    match code:
        case grpc.StatusCode.NOT_FOUND:
            return f"subscription {subscription} is not known there: {words}"
        case grpc.StatusCode.FAILED_PRECONDITION:
            return f"subscription {subscription} is not delivered by streams: {words}"
        case grpc.StatusCode.UNAUTHENTICATED:
            return f"the token was not accepted: {words}"
        case grpc.StatusCode.PERMISSION_DENIED:
            return f"the token does not allow subscription {subscription}: {words}"
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"no stream listener answers there, is it the address of [stream] listen? {words}"
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return f"the daemon takes no more streams: {words}"
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return words
        case _:
            return f"{words} ({code.name})"


def _last_words(details: str) -> str:
    """Return the cause alone: gRPC puts the address, which is said already, and its own layers before it."""
    words = details.rpartition("last error: ")[2]
    return re.sub(r"^(?:[A-Z_]+: |ipv[46]:\S+: )+", "", words) or "it gave no reason"
