"""Exceptions that the client raises."""


class ClientError(Exception):
    """The base class of all errors of this library."""


class SubscriptionRefused(ClientError):  # noqa: N818 - as requests are refused, connections are lost
    """The error if every daemon refuses the subscription, and waiting does not help.

    Attributes:
        code: the name of the gRPC status, such as NOT_FOUND.
    """

    def __init__(self, subscription: str, address: str, code: str, detail: str) -> None:
        super().__init__(f"{subscription}: nothing can be received from {address}: {detail}")
        self.code = code


class BadFrameError(ClientError):
    """The error of a stream whose daemon broke the contract. The client closes the stream."""
