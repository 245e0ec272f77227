"""Callers that do not behave: each is told what is wrong, nothing is lost, and others do not notice."""

import asyncio
import gc
import json
import ssl
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from mpsd.core.outcome import DELIVERED
from mpsd.delivery.pull.peer_request import PeerClient
from mpsd.listeners.http import Bounds
from mpsd.listeners.tokens import load_tokens
from tests.conformance.http_client import Answer
from tests.unit.delivery.pull.served import LEASES, Served, serving

TOKENS = """
[[tokens]]
name = "prometheus"
role = "viewer"
token = "viewer-0123456789"

[[tokens]]
name = "anna"
role = "admin"
token = "admin-0123456789"

[[tokens]]
name = "app"
role = "consumer"
subscriptions = ["billing"]
token = "consumer-0123456789"

[[tokens]]
name = "poster"
role = "consumer"
subscriptions = ["posted"]
token = "poster-0123456789"
"""


async def works(served: Served) -> None:
    """Somebody else gets a record and settles it."""
    served.add(1)
    async with served.caller() as caller:
        lease = (await caller.post(LEASES, {"records_max": 1})).json()
        settlement = {"delivery_id": lease["records"][0]["delivery_id"], "verdict": "ack"}
        answer = await caller.post(lease["settle_url"], {"settlements": [settlement]})
    assert answer.json()["results"][0]["result"] == "settled"
    assert served.outcomes[-1][1] is DELIVERED


def says(answer: Answer, status: int, *fields: str) -> None:
    """Check that the answer is a problem document about these fields."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (answer.status, document["status"]) == (status, status)
    assert document["detail"]
    assert [error["field"] for error in document.get("errors", [])] == list(fields)
    assert all(field in document["detail"] for field in fields)


@pytest.mark.parametrize(
    ("wanted", "status", "fields"),
    [
        (b"{", 400, []),
        (b"\xff\xfe", 400, []),
        (b"records_max=1", 400, []),
        (b"[" * 100_000, 400, []),
        ([], 422, [""]),
        ({"records_max": 1_000_000}, 422, ["records_max"]),
        ({"records_max": 0}, 422, ["records_max"]),
        ({"records_max": -1, "wait_s": -1}, 422, ["records_max", "wait_s"]),
        ({"records_max": "many"}, 422, ["records_max"]),
        ({"records_max": 1.5}, 422, ["records_max"]),
        ({"records_max": True}, 422, ["records_max"]),
        ({"records_max": None}, 422, ["records_max"]),
        ({"wait_s": 1e300}, 422, ["wait_s"]),
        (b'{"wait_s": NaN}', 422, ["wait_s"]),
        ({"lease_s": 0}, 422, ["lease_s"]),
        ({"lease_s": 1e9}, 422, ["lease_s"]),
        ({"records": 5}, 422, ["records"]),
    ],
)
async def test_a_request_for_records_that_makes_no_sense(wanted: object, status: int, fields: list[str]) -> None:
    async with serving() as served:
        served.add(1)
        async with served.caller() as caller:
            says(await caller.post(LEASES, wanted), status, *fields)
        assert served.statistic("in_flight") == 0
        await works(served)


@pytest.mark.parametrize(
    ("settlements", "fields"),
    [
        ({}, ["settlements"]),
        ({"settlements": []}, ["settlements"]),
        ({"settlements": {}}, ["settlements"]),
        ({"settlements": [5]}, ["settlements[0]"]),
        ({"settlements": [{"verdict": "ack"}]}, ["settlements[0].delivery_id"]),
        ({"settlements": [{"delivery_id": "x", "verdict": "nack"}]}, ["settlements[0].verdict"]),
        ({"settlements": [{"delivery_id": 5, "verdict": "ack"}]}, ["settlements[0].delivery_id"]),
        ({"settlements": [{"delivery_id": "x" * 300, "verdict": "ack"}]}, ["settlements[0].delivery_id"]),
        ({"settlements": [{"delivery_id": "x", "verdict": "retry", "delay_s": -1}]}, ["settlements[0].delay_s"]),
        ({"settlements": [{"delivery_id": "x", "verdict": "retry", "delay_s": 1e6}]}, ["settlements[0].delay_s"]),
        ({"settlements": [{"delivery_id": "x", "verdict": "ack", "reason": 7}]}, ["settlements[0].reason"]),
    ],
)
async def test_settlements_that_make_no_sense_settle_nothing(settlements: object, fields: list[str]) -> None:
    async with serving() as served:
        served.add(1)
        async with served.caller() as caller:
            lease = (await caller.post(LEASES)).json()
            good = {"delivery_id": lease["records"][0]["delivery_id"], "verdict": "ack"}
            if isinstance(settlements, dict) and isinstance(settlements.get("settlements"), list):
                settlements["settlements"].append(good)
                fields = fields if len(settlements["settlements"]) > 1 else []
            answer = await caller.post(lease["settle_url"], settlements)
            if fields:
                says(answer, 422, *fields)
                assert not served.outcomes
                again = await caller.post(lease["settle_url"], {"settlements": [good]})
                assert again.json()["results"][0]["result"] == "settled"
        assert [outcome for _, outcome in served.outcomes] == [DELIVERED]


async def test_a_thousand_wrong_members_are_not_all_named() -> None:
    async with serving() as served, served.caller() as caller:
        answer = await caller.post(f"{LEASES}/x/settle", {"settlements": [{}] * 1000})
        assert answer.status == 422
        assert len(answer.json()["errors"]) == 10
        assert "and 1990 more" in answer.json()["detail"]


@pytest.mark.parametrize("lease", ["x", "..", "a.b.c", "%00", "%ff%fe", "x" * 5_000, "{instance}.1.{zeros}"])
async def test_a_lease_that_never_was(lease: str) -> None:
    async with serving() as served, served.caller() as caller:
        lease = lease.format(instance=served.adapter.ids.instance, zeros="0" * 20)
        named = {"settlements": [{"delivery_id": f"{lease}.0", "verdict": "ack"}]}
        if len(named["settlements"][0]["delivery_id"]) <= 256:
            answer = await caller.post(f"{LEASES}/{lease}/settle", named)
            assert answer.json()["results"] == [{"delivery_id": f"{lease}.0", "result": "unknown"}]
        answer = await caller.post(f"{LEASES}/{lease}/extend", {"delivery_ids": ["x"]})
        assert answer.json()["results"] == [{"delivery_id": "x", "result": "unknown"}]
        await works(served)


async def test_a_lease_of_another_subscription_changes_nothing() -> None:
    async with serving() as one, serving() as other:
        one.add(1)
        async with one.caller() as caller, other.caller() as stranger:
            lease = (await caller.post(LEASES)).json()
            settled = {"settlements": [{"delivery_id": lease["records"][0]["delivery_id"], "verdict": "ack"}]}
            answer = await stranger.post(lease["settle_url"], settled)
            assert answer.json()["results"][0]["result"] == "unknown"
            assert not one.outcomes
            answer = await caller.post(lease["settle_url"], settled)
            assert answer.json()["results"][0]["result"] == "settled"


async def test_a_record_of_another_lease_is_unknown() -> None:
    async with serving() as served, served.caller() as caller:
        served.add(2)
        first, second = [(await caller.post(LEASES, {"records_max": 1})).json() for _ in range(2)]
        settled = {"settlements": [{"delivery_id": second["records"][0]["delivery_id"], "verdict": "ack"}]}
        assert (await caller.post(first["settle_url"], settled)).json()["results"][0]["result"] == "unknown"
        assert not served.outcomes


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("nothing", 404, "billing"), ("posted", 409, "not pulled"), ("%2e%2e", 404, "billing"), ("x" * 3_000, 404, "")],
)
@pytest.mark.parametrize("path", ["leases", "leases/x/settle", "leases/x/extend"])
async def test_a_subscription_that_cannot_be_pulled(name: str, status: int, words: str, path: str) -> None:
    async with serving() as served, served.caller() as caller:
        answer = await caller.post(f"/v1/subscriptions/{name}/{path}", {})
        says(answer, status)
        assert words in answer.json()["detail"]


async def test_a_body_over_the_bound_is_not_read() -> None:
    async with serving(body_bytes_max=1_024) as served:
        for head in (b"content-length: 10000000\r\n", b"transfer-encoding: chunked\r\n"):
            async with served.caller() as caller:
                reader, writer = await caller.streams()
                writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\n%b\r\n" % (LEASES.encode(), head))
                if b"chunked" in head:
                    writer.write(b"800\r\n" + b" " * 0x800 + b"\r\n")
                says(await caller.answer(reader), 413)
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""  # the rest will never be taken for a request
        await works(served)


async def test_memory_is_flat_whatever_is_poured_in() -> None:
    async def pour(served: Served, times: int) -> None:
        for _ in range(times):
            async with served.caller() as caller:
                reader, writer = await caller.streams()
                writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % LEASES.encode())
                with suppress(OSError):
                    for _ in range(40):
                        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                        await writer.drain()
                with suppress(OSError, EOFError):
                    await reader.read()

    async with serving(body_bytes_max=65_536) as served:
        tracemalloc.start()
        try:
            await pour(served, 10)
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            await pour(served, 20)
            gc.collect()
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 500_000
        assert peak - before < 8_000_000
        await works(served)


async def test_slow_callers_are_cut_off_and_others_served() -> None:
    async with serving(bounds=Bounds(request_s_max=1.0)) as served:
        slow = [served.caller() for _ in range(20)]
        for number, caller in enumerate(slow):
            _, writer = await caller.streams()
            head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{" % LEASES.encode()
            writer.write(head[: 10 + 5 * number] if number < 19 else head)
        await works(served)
        for caller in slow:
            reader, _ = await caller.streams()
            with suppress(ConnectionResetError):
                assert b"200" not in await reader.read()
            caller.cut()
        assert served.statistic("in_flight") == served.statistic("waiters") == 0
        await works(served)


async def test_a_caller_that_waits_is_not_slow() -> None:
    async with serving(bounds=Bounds(request_s_max=1.0)) as served, served.caller() as caller:
        answer = await caller.post(LEASES, {"wait_s": 1.5})
        assert (answer.status, answer.json()) == (200, {"records": []})


async def test_too_many_callers_are_told_to_come_again() -> None:
    async with serving(waiters_max=2) as served:
        async with served.caller() as one, served.caller() as two, served.caller() as three:
            waiting = [asyncio.ensure_future(caller.post(LEASES, {"wait_s": 1})) for caller in (one, two)]
            await served.until(lambda: served.statistic("waiters") == 2)
            answer = await three.post(LEASES)
            says(answer, 429)
            assert answer.headers["retry-after"] == "1"
            served.add(2)
            assert [len(answer.json()["records"]) for answer in await asyncio.gather(*waiting)] == [2, 0]
        await works(served)


async def test_with_tokens_every_call_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(TOKENS)
    tokens = load_tokens("http", str(path), ("billing", "posted"))
    async with serving(tokens=tokens) as served, served.caller() as caller:
        for target in (LEASES, f"{LEASES}/x/settle", f"{LEASES}/x/extend", "/v1/subscriptions/nothing/leases"):
            for headers in ({}, {"authorization": "Bearer wrong"}):
                answer = await caller.post(target, {}, **headers)
                says(answer, 401)
                assert answer.headers["www-authenticate"].startswith("Bearer")
        served.add(1)
        for name, role in (("prometheus", "viewer"), ("anna", "admin")):
            for target in (LEASES, f"{LEASES}/x/settle", f"{LEASES}/x/extend", "/v1/subscriptions/nothing/leases"):
                answer = await caller.post(target, {}, authorization=f"Bearer {role}-0123456789")
                says(answer, 403)
                assert answer.json()["detail"] == f"taking records needs the role consumer; {name} has {role}"
        answer = await caller.post(LEASES, authorization="Bearer poster-0123456789")
        says(answer, 403)
        assert "poster may take records of posted, not of billing" in answer.json()["detail"]
        assert served.ready, "nobody has taken it"
        answer = await caller.post(LEASES, authorization="Bearer consumer-0123456789")
        assert len(answer.json()["records"]) == 1
        settled = {
            "settlements": [{"delivery_id": answer.json()["records"][0]["delivery_id"], "verdict": "dead-letter"}]
        }
        target = answer.json()["settle_url"]
        says(await caller.post(target, settled, authorization="Bearer viewer-0123456789"), 403)
        assert not served.outcomes


async def test_a_certificate_is_a_consumer_as_a_token_is(tmp_path: Path) -> None:
    authority = trustme.CA()
    contexts: dict[str, ssl.SSLContext] = {}
    for name in ("app", "stranger"):
        contexts[name] = ssl.create_default_context()
        authority.configure_trust(contexts[name])
        authority.issue_cert(f"{name}.example.com").configure_cert(contexts[name])
    listener = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(listener)
    authority.configure_trust(listener)
    listener.verify_mode = ssl.CERT_REQUIRED
    path = tmp_path / "tokens.toml"
    path.write_text(
        "[[tokens]]\nname='app'\nrole='consumer'\nsubscriptions=['billing']\ncertificate='app.example.com'\n"
    )
    async with serving(tokens=load_tokens("http", str(path), ("billing",)), tls=(listener, listener)) as served:
        served.add(1)
        statuses = {}
        for name, context in contexts.items():
            answer = await PeerClient(context, 1 << 20).post(served.address, LEASES, {}, b'{"wait_s": 0}', 10.0)
            statuses[name] = answer.status
        assert statuses == {"app": 200, "stranger": 401}


async def test_other_methods_and_paths_are_not_there() -> None:
    async with serving() as served, served.caller() as caller:
        assert (await caller.request("GET", LEASES)).status == 405
        assert (await caller.post(f"{LEASES}/x")).status == 404
        assert (await caller.post(f"{LEASES}/x/y/settle")).status == 404


async def test_a_record_says_its_media_type() -> None:
    async with serving() as served, served.caller() as caller:
        for value, headers, said in (
            (b'{"a": 1}', (), "application/json"),
            (b"a", (), "application/octet-stream"),
            (None, (), "application/octet-stream"),
            (b"a", (("Content-Type", b"text/css"),), "text/css"),
            (b"[1]", (("content-encoding", b"gzip"),), "application/octet-stream"),
        ):
            served.add(1, value=value, headers=headers)
            (record,) = (await caller.post(LEASES)).json()["records"]
            assert record["content_type"] == said


async def test_records_of_any_kind_are_json() -> None:
    async with serving() as served, served.caller() as caller:
        texts = [b'"\\\x00\x1f', "\u2028é😀".encode(), b"\xff", b"", None, json.dumps({"a": 1}).encode()]
        for text in texts:
            served.add(1, key=text, value=text, headers=(("ä\n", text), ("ä\n", b"2")))
            (record,) = (await caller.post(LEASES)).json()["records"]
            assert record["headers"][1] == {"name": "ä\n", "value": "2"}
            if text == b"\xff":
                assert (record["key_base64"], record["value_base64"]) == ("/w==", "/w==")
                assert record["headers"][0] == {"name": "ä\n", "value_base64": "/w=="}
                assert "value" not in record
            else:
                said = None if text is None else text.decode()
                assert (record["key"], record["value"], record["headers"][0]["value"]) == (said, said, said)
