"""The document, and all that is said over HTTP held to it."""

import json
from typing import Any

import jsonschema_rs
import pytest

from mpsd.core.delivery import Delivery
from mpsd.delivery.openapi import document
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.events import Batch, BatchRequests
from mpsd.delivery.rest.request import RequestHeads
from tests.conformance.deliveries import delivery
from tests.conformance.webhooks import complaints_of_answer, complaints_of_webhook
from tests.fakes.rest_delivery import rest_delivery
from tests.unit.delivery.pull.served import LEASES, serving

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"


def posted(given: Delivery, **settings: Any) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body as they go out."""
    url = "http://127.0.0.1:8000/orders"
    heads = RequestHeads("billing", rest_delivery(url, **settings), Endpoint.of(url), lambda: 1e9)
    lines = heads.head(given).decode().split("\r\n")[1:]
    return [
        (name, value) for name, _, value in (line.partition(": ") for line in lines if line)
    ], given.record.value or b""


def posted_together(given: list[Delivery], **settings: Any) -> tuple[list[tuple[str, str]], bytes]:
    """Return the headers and the body of a batch."""
    url = "http://127.0.0.1:8000/orders"
    requests = BatchRequests("billing", rest_delivery(url, **settings), Endpoint.of(url), lambda: 1e9)
    batch = Batch(given)
    lines = requests.head(batch).decode().split("\r\n")[1:]
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines if line)]
    return headers, bytes(batch.take_body())


def replayed(given: Delivery) -> Delivery:
    given.replay = "r 1"
    return given


RECORDS = {
    "ordinary": delivery(),
    "second attempt": delivery(attempts=1),
    "no key": delivery(key=None),
    "binary": delivery(key=b"\x00k %\xff", value=b"\x00\xff"),
    "tombstone": delivery(value=None),
    "no time": delivery(timestamp=-1),
    "headers": delivery(headers=(("a b", b"\xff"), ("content-type", b"text/plain"), ("traceparent", b"00-1-2-01"))),
    "replayed": replayed(delivery()),
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("settings", [{}, {"webhook_secrets": (SECRET,)}, {"body": "cloudevents-binary"}])
def test_what_is_posted_is_in_the_document(name: str, settings: dict[str, Any]) -> None:
    assert complaints_of_webhook("record", *posted(RECORDS[name], **settings)) == []


@pytest.mark.parametrize("settings", [{}, {"webhook_secrets": (SECRET,)}])
def test_what_is_posted_together_is_in_the_document(settings: dict[str, Any]) -> None:
    json_value = delivery(value=b'{"a": [1, null]}', headers=(("content-type", b"application/json"),))
    batch = [*RECORDS.values(), json_value]
    assert complaints_of_webhook("batch", *posted_together(batch, **settings)) == []


def test_what_the_document_does_not_allow_is_seen() -> None:
    headers, body = posted(delivery())
    assert complaints_of_webhook("record", [each for each in headers if each[0] != "Mps-Offset"], body)
    assert complaints_of_webhook("record", [*headers, ("Mps-Surprise", "1")], body)
    assert complaints_of_webhook("record", [*headers, ("Mps-Attempt", "zero")], body)
    assert complaints_of_webhook("batch", [("Mps-Subscription", "x"), ("Mps-Records", "1")], b"[]")
    assert complaints_of_answer("LeaseAnswer", {"records": [{"delivery_id": "x"}]})


def test_every_schema_is_one() -> None:
    for schema in document()["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    json.dumps(document())


async def test_answers_are_as_the_document_says() -> None:
    async with serving() as served, served.caller() as caller:
        for given in RECORDS.values():
            served.ready.append(given)
        answer = (await caller.post(LEASES)).json()
        assert len(answer["records"]) == len(RECORDS)
        assert complaints_of_answer("LeaseAnswer", answer) == []
        assert complaints_of_answer("LeaseAnswer", {"records": []}) == []
        ids = [record["delivery_id"] for record in answer["records"]]
        extended = await caller.post(answer["extend_url"], {"delivery_ids": [*ids, "x"]})
        assert complaints_of_answer("ExtendAnswer", extended.json()) == []
        settlements = [{"delivery_id": each, "verdict": "ack"} for each in [*ids, "x"]]
        settled = await caller.post(answer["settle_url"], {"settlements": settlements})
        assert complaints_of_answer("SettleAnswer", settled.json()) == []
        problem = await caller.post(LEASES, {"records_max": 0})
        assert complaints_of_answer("Problem", problem.json()) == []
