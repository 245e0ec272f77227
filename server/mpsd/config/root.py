"""The configuration as a whole."""

from typing import Annotated

from pydantic import Field

from mpsd.config.daemon import Admin, Control, Http, Kafka, Limits, Logging, Reload, Shutdown, Stream
from mpsd.config.subscription import Subscription
from mpsd.config.values import Table


class Config(Table):
    """Everything that can be set, validated and complete."""

    kafka: Kafka = Field(description="The cluster.")
    limits: Limits = Field(default=Limits(), description="Bounds of the whole daemon.")
    admin: Admin = Field(default=Admin(), description="gRPC: administration, health, reflection.")
    http: Http = Field(default=Http(), description="HTTP: health and metrics.")
    stream: Stream = Field(default=Stream(), description="gRPC: delivery streams.")
    reload: Reload = Field(default=Reload(), description="Secrets and certificates that change.")
    shutdown: Shutdown = Field(default=Shutdown(), description="Between SIGTERM and the end.")
    control: Control = Field(default=Control(), description="Topics for operators' decisions.")
    logging: Logging = Field(default=Logging(), description="Log on standard error.")
    subscriptions: Annotated[tuple[Subscription, ...], Field(strict=False, min_length=1, max_length=1_000)] = Field(
        description="Topics to read and applications to deliver to."
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the subscriptions."""
        return tuple(each.name for each in self.subscriptions)
