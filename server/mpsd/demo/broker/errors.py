"""Errors of starting a Kafka."""

from mpsd.errors import MpsError


class DemoExtraMissing(MpsError):  # noqa: N818 - named after the state, like its siblings in `mpsd.errors`
    """The packages that bring Kafka's jars and a Java runtime are not installed."""

    code = "broker.extra_missing"


class DownloadFailed(MpsError):  # noqa: N818
    """A jar could not be fetched, or is not the one that the lock names."""

    code = "broker.download_failed"


class BrokerFailed(MpsError):  # noqa: N818
    """A broker process did not start, or ended when it should not have."""

    code = "broker.failed"


class PortTaken(BrokerFailed):
    """A broker found one of its ports in use."""

    code = "broker.port_taken"
