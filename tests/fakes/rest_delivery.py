"""The table of a delivery by REST, with secrets in the clear as tests write them."""

from typing import Any

from mpsd.config import Auth, Basic, RestDelivery, Secret

URL = "http://127.0.0.1:8000/orders"


def secret(value: str) -> Secret:
    return Secret("env", "SECRET", value)


def rest_delivery(url: str = URL, **given: object) -> RestDelivery:
    """Return the table of the configuration; see `_tables` for the names that it does not have."""
    return RestDelivery(protocol="rest", url=url, **_tables(given))


def changed(delivery: RestDelivery, **given: object) -> RestDelivery:
    """Return a table with other values, which nobody has checked."""
    return delivery.model_copy(update=_tables(given))


def _tables(given: dict[str, object]) -> dict[str, Any]:
    """Put `bearer` and `basic` into their table, and texts of what may be secret into secrets."""
    tables: dict[str, Any] = dict(given)
    if (bearer := tables.pop("bearer", None)) is not None:
        tables["auth"] = Auth(bearer=secret(bearer))
    if (basic := tables.pop("basic", None)) is not None:
        tables["auth"] = Auth(basic=Basic(username=basic[0], password=secret(basic[1])))
    if "webhook_secrets" in tables:
        tables["webhook_secrets"] = tuple(map(secret, tables["webhook_secrets"]))
    if "headers" in tables:
        tables["headers"] = {name: secret(value) for name, value in tables["headers"].items()}
    return tables
