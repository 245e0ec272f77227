"""Signatures of ours, verified with the official libraries and with what the documentation shows."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from mpsd.delivery.rest.signature import Signer
from tests.docs.blocks import ROOT, blocks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
PAGE = (ROOT / "docs/how-to/verify-signatures.md").read_text()
JSON_BODIES = [b"{}", b'{"test": 2432232314}', '{"name":"Zoë 🚀"}'.encode(), b"[1,2]", b'"x"', b"12", b" null\n"]
TEXTS = [b"plain", "Grüße\r\n".encode(), b"a.b.c", b"\x00\x01", "\ufeffbom".encode(), b"{not json"]
EMPTY = [b""]
BYTES = [b"\xff\xfe", b"\x80", bytes(range(256)), b"\xed\xa0\x80", b"caf\xe9", b"\xc3"]
BODIES = JSON_BODIES + TEXTS + EMPTY + BYTES


def headers(body: bytes, secret: str = SECRET) -> dict[str, str]:
    lines = Signer([secret]).headers(b"orders.v1/3/7", body, int(time.time())).decode()
    return dict(line.split(": ", maxsplit=1) for line in lines.split("\r\n") if line)


def shown() -> Callable[[str, dict[str, str], bytes], bool]:
    """Return the function that the page shows."""
    (block,) = [each for each in blocks(PAGE) if each.language == "python"]
    names: dict[str, Any] = {}
    exec(block.text, names)
    found: Callable[[str, dict[str, str], bytes], bool] = names["is_genuine"]
    return found


is_genuine = shown()


@given(st.binary())
def test_any_body_is_verified_by_what_the_page_shows(body: bytes) -> None:
    sent = headers(body)
    assert is_genuine(SECRET, sent, body)
    assert not is_genuine(OTHER, sent, body)
    assert not is_genuine(SECRET, sent, body + b"x")
    assert not is_genuine(SECRET, {**sent, "webhook-timestamp": str(int(time.time()) - 600)}, body)
    assert not is_genuine(SECRET, {}, body)


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_the_official_library_verifies_whatever_is_text(body: bytes) -> None:
    verifier, sent = Webhook(SECRET), headers(body)
    try:
        body.decode()
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            verifier.verify(body, sent, json_parse=False)
        return
    verifier.verify(body, sent, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(body + b"x", sent, json_parse=False)


@pytest.mark.parametrize(
    ("bodies", "error"),
    [(JSON_BODIES, None), (TEXTS + EMPTY, json.JSONDecodeError), (BYTES, UnicodeDecodeError)],
    ids=["JSON", "text", "bytes"],
)
def test_the_official_library_takes_bodies_for_json(bodies: list[bytes], error: type[Exception] | None) -> None:
    for body in bodies:
        with pytest.raises(error) if error is not None else nullcontext():
            Webhook(SECRET).verify(body, headers(body))


NODE = """
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { isGenuine } from "./verify.mjs";
const { Webhook } = createRequire(import.meta.url)("standardwebhooks");
const tried = (verify) => { try { verify(); return "verified"; } catch (error) { return error.message; } };
const [secret, requests] = JSON.parse(readFileSync(0));
console.log(JSON.stringify(requests.map(({ headers, body }) => {
  const bytes = Buffer.from(body, "base64");
  const official = new Webhook(secret);
  return [
    isGenuine(secret, headers, bytes),
    isGenuine(secret, headers, Buffer.concat([bytes, Buffer.from("x")])),
    tried(() => official.verify(bytes, headers)),
    tried(() => official.verify(bytes, headers, { jsonParse: false })),
  ];
})));
"""


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
def test_the_official_library_for_javascript(tmp_path: Path) -> None:
    installed = subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "standardwebhooks@1.1.1"], cwd=tmp_path, check=False
    )
    if installed.returncode:
        pytest.skip("npm cannot install standardwebhooks")
    (block,) = [each for each in blocks(PAGE) if each.language == "js"]
    (tmp_path / "verify.mjs").write_text(block.text)
    (tmp_path / "try.mjs").write_text(NODE)
    requests = [{"headers": headers(body), "body": base64.b64encode(body).decode()} for body in BODIES]
    ran = subprocess.run(
        ["node", "try.mjs"],
        cwd=tmp_path,
        input=json.dumps([SECRET, requests]),
        capture_output=True,
        text=True,
        check=True,
    )
    for body, (shown, altered, parsed, unparsed) in zip(BODIES, json.loads(ran.stdout), strict=True):
        assert (shown, altered) == (True, False), body
        is_text = body not in BYTES
        assert unparsed == ("verified" if is_text else "No matching signature found"), body
        assert (parsed == "verified") is (body in JSON_BODIES + EMPTY), (body, parsed)
