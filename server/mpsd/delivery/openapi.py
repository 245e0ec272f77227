"""The delivery contract as an OpenAPI 3.1 document: what may be called (D), and what is called (A and B)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mpsd import __version__
from mpsd.delivery.pull.messages import (
    ExtendAnswer,
    ExtendRequest,
    LeaseAnswer,
    LeaseRequest,
    SettleAnswer,
    SettleRequest,
)
from mpsd.delivery.pull.routes import EXTEND, LEASES, SETTLE
from mpsd.delivery.webhooks import BatchAnswer, BatchHeaders, Event, RecordHeaders
from mpsd.listeners.problem import Problem, phrase

SCHEMAS = "#/components/schemas/{model}"
SPOKEN: Sequence[type[BaseModel]] = (
    LeaseRequest,
    LeaseAnswer,
    SettleRequest,
    SettleAnswer,
    ExtendRequest,
    ExtendAnswer,
    Event,
    BatchAnswer,
    Problem,
)
REFUSALS: Mapping[int, str] = {
    400: "The body is not JSON, or ended too early.",
    401: "`http.tokens_file` is set, and neither the bearer token nor the client certificate is in it.",
    403: "The caller is no consumer of this subscription: its `role` or its `subscriptions` in `http.tokens_file`.",
    404: "There is no such subscription; the detail names those that there are.",
    409: "The subscription is not delivered by pull.",
    413: "The body is larger than `http.body_bytes_max`. The connection is closed.",
    422: "Members of the body are wrong; `errors` names them. Nothing was done.",
    503: "The daemon is shutting down, or the instance that holds the lease does not answer.",
}
TOO_MANY = {429: "`delivery.waiters_max` requests wait already."}
RETRY_LATER = {429, 503}
VERDICT_HEADERS: Mapping[str, Any] = {
    "Mps-Verdict": {
        "description": "Counts more than the status.",
        "schema": {"type": "string", "enum": ["retry", "dead-letter"]},
    },
    "Mps-Reason": {"description": "Why, for the log and the dead letter.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds or an HTTP date.", "schema": {"type": "string"}},
}


def document() -> dict[str, Any]:
    """Return the whole document, which is the same for every configuration."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Message Proxy Service: delivery",
            "version": __version__,
            "summary": "How applications receive Kafka records over HTTP.",
            "description": "Paths are what applications call that pull; webhooks are what the daemon calls of those it"
            " posts to. The prose is `docs/reference/contract.md`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{}, {"token": []}],
        "paths": {
            LEASES: {
                "parameters": [_path("name", "The subscription.")],
                "post": _operation(
                    "lease",
                    "Ask for records, and wait until there are some.",
                    LeaseRequest,
                    LeaseAnswer,
                    "The records that were ready; none at the end of the wait.",
                    TOO_MANY,
                ),
            },
            SETTLE: {
                "parameters": [_path("name", "The subscription."), _path("lease_id", "From the lease.")],
                "post": _operation(
                    "settle", "Say what became of records.", SettleRequest, SettleAnswer, "What each settlement did."
                ),
            },
            EXTEND: {
                "parameters": [_path("name", "The subscription."), _path("lease_id", "From the lease.")],
                "post": _operation(
                    "extend", "Hold records for longer.", ExtendRequest, ExtendAnswer, "What became of each."
                ),
            },
        },
        "webhooks": {"record": {"post": _record()}, "batch": {"post": _batch()}},
        "components": {
            "schemas": models_json_schema([(model, "validation") for model in SPOKEN], ref_template=SCHEMAS)[1][
                "$defs"
            ],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Of `http.tokens_file`, where it is set."}
            },
        },
    }


def _path(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _operation(
    name: str,
    summary: str,
    request: type[BaseModel],
    answer: type[BaseModel],
    meaning: str,
    more: Mapping[int, str] = {},
) -> dict[str, Any]:
    refusals = {
        str(status): {
            "description": f"{phrase(HTTPStatus(status))}. {text}",
            "content": {"application/problem+json": {"schema": _schema(Problem)}},
            **({"headers": {"Retry-After": VERDICT_HEADERS["Retry-After"]}} if status in RETRY_LATER else {}),
        }
        for status, text in sorted({**REFUSALS, **more}.items())
    }
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {
            "required": name != "lease",
            "content": {"application/json": {"schema": _schema(request)}},
        },
        "responses": {
            "200": {"description": meaning, "content": {"application/json": {"schema": _schema(answer)}}},
            **refusals,
        },
    }


def _record() -> dict[str, Any]:
    return {
        "operationId": "record",
        "summary": "One record, posted to `delivery.url`; put there with `delivery.method` = PUT.",
        "description": "The body is the value, byte for byte; its type is `delivery.content_type`, or the record's own: its"
        " `content-type`, else JSON where it looks like JSON, else `application/octet-stream`."
        " With `delivery.record_headers` = separate there is one `Mps-Header-<name>` for each header of the record.",
        "parameters": _headers(RecordHeaders),
        "requestBody": {"required": True, "content": {"*/*": {}}},
        "responses": _meanings(),
    }


def _batch() -> dict[str, Any]:
    answers = _meanings()
    answers["2XX"]["content"] = {"application/json": {"schema": _schema(BatchAnswer)}}
    events = {"type": "array", "minItems": 1, "items": _schema(Event)}
    return {
        "operationId": "batch",
        "summary": "Several records, posted to `delivery.url`, with `delivery.batch.records_max` above 1.",
        "parameters": _headers(BatchHeaders),
        "requestBody": {"required": True, "content": {"application/cloudevents-batch+json": {"schema": events}}},
        "responses": answers,
    }


def _meanings() -> dict[str, Any]:
    """Return the contract's table of status codes in brief; `delivery.status` may change each."""
    meanings = {
        "2XX": "Accepted.",
        "429": "Less, please: delivered again after a pause, and fewer at a time.",
        "503": "Less, please: delivered again after a pause, and fewer at a time.",
        "4XX": "Never again: to the dead-letter topic. But 408 and 425 ask for another attempt, and 401, 402, 403, 404, 405,"
        " 407, 410, 421 and 426 say that the endpoint is out of order.",
        "5XX": "Another attempt. But 502 and 504 say that the endpoint is out of order.",
        "3XX": "Never followed: the endpoint is out of order.",
    }
    return {status: {"description": text, "headers": dict(VERDICT_HEADERS)} for status, text in meanings.items()}


def _headers(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema(by_alias=True)
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "in": "header",
            "required": name in required,
            "description": each.get("description", ""),
            "schema": _plain(each),
        }
        for name, each in schema["properties"].items()
    ]


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an optional header without its null."""
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    return {name: value for name, value in kinds[0].items() if name not in {"title", "description", "default"}}


def _schema(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": SCHEMAS.format(model=model.__name__)}
