"""Exceptions that the client raises."""


class ClientError(Exception):
    """Every error of this library."""


class SubscriptionRefused(ClientError):  # noqa: N818 - as requests are refused, connections are lost
    """Every daemon that was asked refused, for a reason that waiting does not cure.

    Attributes:
        code: name of the gRPC status, such as NOT_FOUND.
    """

    def __init__(self, subscription: str, address: str, code: str, detail: str) -> None:
        super().__init__(f"{subscription}: nothing can be received from {address}: {detail}")
        self.code = code


class BadFrameError(ClientError):
    """A daemon broke the contract; its stream is given up."""
