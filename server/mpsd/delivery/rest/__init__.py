"""REST push over HTTP/1.1: one record, one POST (the delivery contract, part A), or several (part B)."""

from mpsd.delivery.rest.adapter import RestAdapter
from mpsd.delivery.rest.batch_adapter import BatchAdapter
from mpsd.delivery.rest.poster import Surroundings

__all__ = ["BatchAdapter", "RestAdapter", "Surroundings"]
