"""Secrets: where they come from, and that they are nowhere to be seen."""

import base64
import copy
import os
import pickle
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from mpsd.config import Config, RestDelivery, Secret, print_config, reveal, validate
from mpsd.config.files import files_of, read_again
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.request import opening_headers
from mpsd.errors import ConfigError
from mpsd.service.build import endpoint

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


URL = f"https://me:{HIDDEN}@hooks.example:8443/services/{HIDDEN}?token={HIDDEN}"


def with_url(url: object, **delivery: Any) -> dict[str, Any]:
    return tree(url=url, **delivery)


def test_a_url_may_be_a_secret(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(URL + "\n")
    for config in (
        validate(with_url({"env": "URL"}), environ={"URL": URL}),
        validate(with_url({"file": "url"}), directory=tmp_path),
    ):
        delivery = rest(config)
        assert reveal(delivery.url) == URL
        to = Endpoint.of(delivery.url)
        assert (to.authority, to.target) == ("hooks.example:8443", f"/services/{HIDDEN}?token={HIDDEN}")
        credentials = b64encode(f"me:{HIDDEN}".encode())
        assert b"Authorization: Basic " + credentials in opening_headers("billing", delivery, to)
        for shown in (print_config(config), repr(config), endpoint(config.subscriptions[0])):
            assert HIDDEN not in shown
        assert endpoint(config.subscriptions[0]) == "https://hooks.example:8443/***"


@pytest.mark.parametrize(
    "bad", ["hunter2", "hunter2://app", "http://", "http://a b/hunter2", "http://a:hunter2", "http://a/#hunter2", "ä"]
)
def test_a_secret_that_is_no_url_is_refused_without_being_shown(bad: str) -> None:
    said = problem(with_url({"env": "URL"}), URL=bad)
    assert said.endswith("the secret in env URL is not an http:// or https:// URL without blanks and fragment")


def test_a_url_that_is_neither_is_refused() -> None:
    assert '{ env = "NAME" } or { file = "path" }' in problem(with_url(3))


@pytest.mark.parametrize("other", [{"auth": {"bearer": {"env": "A"}}}, {"headers": {"authorization": {"env": "A"}}}])
def test_one_user_at_a_time(other: dict[str, Any]) -> None:
    assert "url holds a user name" in problem(with_url({"env": "URL"}, **other), URL=URL, A="a")


def test_the_query_of_a_url_is_masked() -> None:
    config = validate(with_url(f"http://app:8000/orders?token={HIDDEN}"))
    assert 'url = "http://app:8000/orders?***"' in print_config(config)
    assert endpoint(config.subscriptions[0]) == "http://app:8000/orders?***"
    assert endpoint(validate(with_url("http://[::1]:8000/")).subscriptions[0]) == "http://[::1]:8000/"


def test_a_secret_is_read_again_and_held_to_the_same_rules(tmp_path: Path) -> None:
    for name, text in (("url", "http://app/a"), ("hook", WEBHOOK), ("header", "a"), ("bearer", "a"), ("user", "me")):
        (tmp_path / name).write_text(text)
    given = with_url(
        {"file": "url"},
        webhook_secrets=[{"file": "hook"}],
        headers={"X-A": {"file": "header"}},
        auth={"bearer": {"file": "bearer"}},
    )
    delivery = rest(validate(given, directory=tmp_path))
    assert files_of(delivery) == [str(tmp_path / name) for name in ("url", "header", "bearer", "hook")]
    assert read_again(delivery, ("d",)) == delivery
    (tmp_path / "url").write_text("http://app/b")
    assert reveal(read_again(delivery, ("d",)).url) == "http://app/b"
    for name in ("url", "hook", "header", "bearer"):
        (tmp_path / name).write_text(f"{HIDDEN}\nX: 1")
    with pytest.raises(ConfigError) as raised:
        read_again(delivery, ("d",))
    assert {each.path for each in raised.value.problems} == {
        "d.url",
        "d.webhook_secrets[0]",
        "d.headers.X-A",
        "d.auth.bearer",
    }
    assert HIDDEN not in str(raised.value)


def test_a_secret_from_the_environment_is_never_read_again() -> None:
    delivery = rest(validate(bearer(env="A"), environ={"A": HIDDEN}))
    assert read_again(delivery, ()) == delivery
    assert not files_of(delivery)


def test_a_pipe_is_no_secret(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    assert "is not a regular file" in problem(bearer(file="token"), tmp_path)
