"""REST push: one record, one POST over HTTP/1.1 (the delivery contract, part A)."""

from mpsd.delivery.rest.adapter import RestAdapter
from mpsd.delivery.rest.settings import ClientTls, RestSettings

__all__ = ["ClientTls", "RestAdapter", "RestSettings"]
