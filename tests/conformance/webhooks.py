"""Requests that the daemon sends, held to the webhooks of its OpenAPI document."""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import jsonschema_rs

from mpsd.delivery.openapi import document

COMMON = {"host", "content-length", "content-type", "user-agent", "authorization"}
"""Headers that every request may have."""


@cache
def _document() -> dict[str, Any]:
    return document()


def _validator(schema: Any) -> Any:
    return jsonschema_rs.validator_for(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "components": _document()["components"]}
    )


def complaints_of_webhook(name: str, headers: Iterable[tuple[str, str]], body: bytes) -> list[str]:
    """Return the parts of a request that the document does not allow.

    Args:
        name: of the webhook: `record` or `batch`.
        headers: names in any case; those of configuration (`delivery.headers`) left out.
    """
    operation = _document()["webhooks"][name]["post"]
    given = {header.lower(): value for header, value in headers}
    found: list[str] = []
    known = set(COMMON)
    for parameter in operation["parameters"]:
        header = parameter["name"].lower()
        known.add(header)
        if header not in given:
            found += [f"{header} is missing"] if parameter["required"] else []
            continue
        value: Any = given[header]
        if parameter["schema"].get("type") == "integer" and value.lstrip("-").isdecimal():
            value = int(value)
        found += [f"{header}: {error.message}" for error in _validator(parameter["schema"]).iter_errors(value)]
    found += [
        f"{header} is not in the document"
        for header in sorted(given.keys() - known)
        if not header.startswith(("mps-header-", "ce-"))
    ]
    return found + _of_body(operation["requestBody"]["content"], given.get("content-type", ""), body)


def complaints_of_answer(model: str, answer: Any) -> list[str]:
    """Return the parts of a JSON value that a schema of the document does not allow."""
    validator = _validator({"$ref": f"#/components/schemas/{model}"})
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(answer)]


def _of_body(content: dict[str, Any], content_type: str, body: bytes) -> list[str]:
    media_type = next((kind for kind in (content_type, "*/*") if kind in content), None)
    if media_type is None:
        return [f"{content_type} is not in the document"]
    if "schema" not in content[media_type]:
        return []
    errors = _validator(content[media_type]["schema"]).iter_errors(json.loads(body))
    return [f"body{error.instance_path}: {error.message}" for error in errors]
