"""Secrets: where they come from, and that they are nowhere to be seen."""

import base64
import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from mpsd.config import Config, RestDelivery, Secret, print_config, reveal, validate
from mpsd.errors import ConfigError

HIDDEN = "hunter2-hunter2-hunter2-hunter2"
WEBHOOK = "whsec_" + base64.b64encode(HIDDEN.encode()).decode()


def tree(**delivery: Any) -> dict[str, Any]:
    return {
        "kafka": {"bootstrap_servers": ["a:1"]},
        "subscriptions": [
            {
                "name": "billing",
                "topics": ["orders"],
                "group": "billing",
                "delivery": {"protocol": "rest", "url": "http://app", **delivery},
            }
        ],
    }


def problem(bad: dict[str, Any], directory: Path | None = None, **environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        validate(bad, environ=environ, directory=directory)
    shown = f"{raised.value!s} {raised.value!r} {raised.value.__cause__!r}"
    assert "hunter2" not in shown
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return str(raised.value)


def bearer(**source: str) -> dict[str, Any]:
    return tree(auth={"bearer": source})


def rest(config: Config) -> RestDelivery:
    delivery = config.subscriptions[0].delivery
    assert isinstance(delivery, RestDelivery)
    return delivery


def test_a_secret_from_the_environment() -> None:
    auth = rest(validate(bearer(env="TOKEN"), environ={"TOKEN": HIDDEN})).auth
    assert auth
    assert auth.bearer == Secret("env", "TOKEN", HIDDEN)
    assert reveal(auth.bearer) == HIDDEN


def test_a_secret_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(HIDDEN + "\r\n")
    auth = rest(validate(bearer(file="token"), directory=tmp_path)).auth
    assert auth
    assert auth.bearer
    assert auth.bearer.reveal() == HIDDEN


def test_a_secret_that_is_not_there(tmp_path: Path) -> None:
    assert problem(bearer(env="TOKEN")).endswith("auth.bearer (billing): the environment variable TOKEN is not set")
    assert problem(bearer(env="TOKEN"), TOKEN="").endswith("the environment variable TOKEN is empty")
    assert problem(bearer(file="no"), tmp_path).endswith("the file no cannot be read: No such file or directory")
    assert problem(bearer(file="."), tmp_path).endswith("the file . cannot be read: Is a directory")
    assert "cannot be read" in problem(bearer(file="a\0b"), tmp_path)


@pytest.mark.parametrize(
    ("content", "said"), [(b"\n", "is empty"), (b"\xff", "not UTF-8"), (b"a" * 65_537, "longer than 65536 bytes")]
)
def test_a_file_that_is_no_secret(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "token").write_bytes(content)
    assert said in problem(bearer(file="token"), tmp_path)


@pytest.mark.parametrize("given", [HIDDEN, {"env": "A", "file": "B"}, {}, {"env": 3}, {"var": HIDDEN}, 3, [HIDDEN]])
def test_a_secret_is_referred_to_never_written(given: object) -> None:
    assert '{ env = "NAME" } or { file = "path" }' in problem(tree(auth={"bearer": given}), A="a")


@pytest.mark.parametrize(
    "delivery",
    [
        {"auth": HIDDEN},
        {"auth": {"basic": HIDDEN}},
        {"auth": {"bearer": {"env": "A"}, "beerer": HIDDEN}},
        {"passwort": HIDDEN},
        {"url": f"http://me:{HIDDEN}@app"},
        {"url": f"me:{HIDDEN}@app"},
        {"url": f"app?token={HIDDEN}"},
        {"webhook_secrets": HIDDEN},
        {"webhook_secrets": [HIDDEN]},
        {"webhook_secrets": [{"env": "A"}]},
        {"headers": {"Authorization": HIDDEN}},
        {"headers": {"cookie": HIDDEN}},
        {"headers": HIDDEN},
        {"headers": {"X-A": {"env": "BROKEN"}}},
        {"headers": {"X-A": [HIDDEN]}},
        {"tls": HIDDEN},
    ],
)
def test_no_message_shows_what_may_be_a_secret(delivery: dict[str, Any]) -> None:
    problem(tree(**delivery), A=HIDDEN, BROKEN=f"{HIDDEN}\nX: 1")


def with_secrets() -> Config:
    secret = {"env": "A"}
    headers = {"Authorization": secret, "X-Team": "billing"}
    made = tree(headers=headers, webhook_secrets=[{"env": "W"}])
    made["subscriptions"].append(
        made["subscriptions"][0]
        | {"name": "b", "group": "b"}
        | {
            "delivery": {
                "protocol": "rest",
                "url": "https://a",
                "auth": {"basic": {"username": secret, "password": secret}},
            }
        }
    )
    made["kafka"]["security"] = {
        "protocol": "sasl-plaintext",
        "mechanism": "PLAIN",
        "username": "mps",
        "password": secret,
    }
    return validate(made, environ={"A": HIDDEN, "W": WEBHOOK})


def test_nothing_that_prints_a_configuration_shows_a_secret() -> None:
    config = with_secrets()
    printed = print_config(config)
    assert 'password = { env = "A" }' in printed
    for shown in (printed, repr(config), str(config), str(config.model_dump()), f"{config.subscriptions[0].delivery}"):
        assert HIDDEN not in shown
        assert WEBHOOK not in shown


def test_a_secret_is_known_by_its_source() -> None:
    secret = Secret("env", "A", HIDDEN)
    assert repr(secret) == "<Secret env='A'>"
    assert {secret: 1}[Secret("env", "A", HIDDEN)] == 1
    assert secret != Secret("env", "A", "other")
    assert secret != HIDDEN
    assert copy.copy(secret) is secret
    assert copy.deepcopy(secret) is secret
    assert reveal("plain") == "plain"


def test_a_secret_is_not_serialised() -> None:
    with pytest.raises(Exception, match="Unable to serialize unknown type"):
        with_secrets().model_dump_json()
    with pytest.raises(TypeError, match="never copied"):
        pickle.dumps(rest(with_secrets()).headers["Authorization"])
    assert copy.deepcopy(with_secrets()) == with_secrets()


@pytest.mark.parametrize("secret", ["", "abc", "whsec_", "whsec_!", "whsec_YWJj", WEBHOOK[6:], WEBHOOK + "="])
def test_a_webhook_secret_is_as_the_standard_says(secret: str) -> None:
    assert "webhook_secrets[0]" in problem(tree(webhook_secrets=[{"env": "W"}]), W=secret)


def test_webhook_secrets_change_in_pairs() -> None:
    both = validate(tree(webhook_secrets=[{"env": "W"}, {"env": "W"}]), environ={"W": WEBHOOK})
    assert [reveal(secret) for secret in rest(both).webhook_secrets] == [WEBHOOK, WEBHOOK]
    assert "0 to 2" in problem(tree(webhook_secrets=[{"env": "W"}] * 3), W=WEBHOOK)
