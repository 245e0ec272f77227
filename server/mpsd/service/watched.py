"""How deliveries and Kafka clients follow the files of their secrets and certificates."""

from collections.abc import Sequence

from mpsd.config import Config, RestDelivery, Secret, Security, Subscription
from mpsd.kafka.connection import ClientOptions
from mpsd.service.reloads import Reloads, Watched

DELIVERY_KEYS = ("headers", "auth", "webhook_secrets", "tls")
"""Keys of a delivery that can be exchanged while it runs."""
SECURITY_KEYS = ("ca", "cert", "key", "username", "password")
"""Those of `kafka.security`."""


def watch_delivery(reloads: Reloads, config: Config, subscription: Subscription) -> Watched[RestDelivery]:
    """Return the delivery of a subscription by REST; its user is set by who makes the adapter."""
    delivery = subscription.delivery
    assert isinstance(delivery, RestDelivery)

    def keys(loaded: RestDelivery) -> Sequence[str]:
        """The URL among them where it is the same secret, whose file may hold another path or query by now."""
        match delivery.url, loaded.url:
            case Secret(kind=kind, file=file), Secret(kind=other_kind, file=other) if (kind, file) == (
                other_kind,
                other,
            ):
                return (*DELIVERY_KEYS, "url")
            case _:
                return DELIVERY_KEYS

    def of(loaded: Config) -> RestDelivery:
        for each in loaded.subscriptions:
            if each.name == subscription.name and isinstance(each.delivery, RestDelivery):
                return delivery.model_copy(update={key: getattr(each.delivery, key) for key in keys(each.delivery)})
        raise LookupError(subscription.name)

    path = ("subscriptions", config.subscriptions.index(subscription), "delivery")
    return reloads.watch(path, of, config, subscription.name, [(*path, key) for key in DELIVERY_KEYS])


def watch_security(reloads: Reloads, config: Config, options: ClientOptions) -> None:
    """Let all Kafka clients connect with the password and the certificates of the time."""

    def of(loaded: Config) -> Security:
        return config.kafka.security.model_copy(
            update={key: getattr(loaded.kafka.security, key) for key in SECURITY_KEYS}
        )

    path = ("kafka", "security")
    reloads.watch(path, of, config, covers=[(*path, key) for key in SECURITY_KEYS]).use = options.renew
