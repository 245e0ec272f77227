"""A flag over a variable over the file over the default."""

from pathlib import Path

import pytest

from mpsctl.errors import CommandError, Exit
from mpsctl.settings import DEFAULT_ADDRESS, context_names, load


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "mpsctl").mkdir()
    (tmp_path / "mpsctl/config.toml").write_text(
        'address = "file:1"\ntoken_file = "token"\ntls = true\ntimeout = "5s"\n'
    )
    (tmp_path / "mpsctl/token").write_text("a-secret-of-16-chars\n")
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def test_without_anything_it_is_this_machine(tmp_path: Path) -> None:
    settings = load({}, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert (settings.address, settings.tls, settings.token, settings.timeout_s) == (DEFAULT_ADDRESS, False, "", None)


def test_each_overrides_the_next(environ: dict[str, str]) -> None:
    settings = load({}, environ)
    assert (settings.address, settings.token, settings.tls, settings.timeout_s) == (
        "file:1",
        "a-secret-of-16-chars",
        True,
        5.0,
    )
    assert load({}, {**environ, "MPSCTL_ADDRESS": "variable:2"}).address == "variable:2"
    assert load({"address": "flag:3"}, {**environ, "MPSCTL_ADDRESS": "variable:2"}).address == "flag:3"


@pytest.mark.parametrize(
    ("file", "flags", "words"),
    [
        ("addres = 'x:1'", {}, "did you mean address"),
        ("address = [1]", {}, "must be a text"),
        ("address", {}, "not TOML"),
        ("[contexts.prod]\naddress='a:1'", {"context": "prdo"}, "no context prdo; did you mean prod"),
        ("", {"context": "prod"}, "has no context prod"),
        ("context = 'prod'", {}, "has no context prod"),
        ("context = 3", {}, "context must be a text"),
        ("contexts = 3", {}, "must be tables"),
        ("[contexts]\nprod = 3", {}, "must be tables"),
        ("[contexts.prod]\naddres = 'a:1'", {"address": "a:1"}, "context prod: unknown key addres"),
        ("", {"address": "nowhere"}, "not an address"),
        ("", {"address": "host:99999"}, "not an address"),
        ("", {"ca": "missing.pem"}, "cannot be read"),
        ("", {"cert": "{self}"}, "private key"),
        ("", {"timeout": "2h"}, "out of range"),
        ("insecure = false", {"address": "far:1", "token_file": "{self}"}, "visible ASCII"),
    ],
)
def test_what_is_wrong_is_named(file: str, flags: dict[str, str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(file)
    given = {key: value.format(self=path) for key, value in flags.items()}
    with pytest.raises(CommandError, match=words) as raised:
        load(given, {"MPSCTL_CONFIG": str(path)})
    assert raised.value.exit_code is Exit.USAGE


CONTEXTS = """
address = "file:1"
token_file = "token"
tls = true
[contexts.prod]
address = "prod:2"
ca = "ca.pem"
[contexts.staging]
address = "127.0.0.1:3"
"""


@pytest.fixture
def fleets(environ: dict[str, str]) -> dict[str, str]:
    directory = Path(environ["XDG_CONFIG_HOME"]) / "mpsctl"
    (directory / "config.toml").write_text(CONTEXTS)
    (directory / "ca.pem").write_text("authority")
    return environ


def test_a_context_that_is_named_counts_alone(fleets: dict[str, str]) -> None:
    shell = {**fleets, "MPSCTL_ADDRESS": "variable:4", "MPSCTL_TOKEN": "for-somebody-else"}
    prod = load({"context": "prod"}, shell)
    assert (prod.address, prod.ca, prod.token) == ("prod:2", b"authority", "")
    assert prod.address_from.endswith("config.toml, context prod")
    assert load({"context": "prod", "address": "flag:5"}, shell).address == "flag:5"
    staging = load({"context": "staging"}, shell)
    assert (staging.address, staging.tls, staging.token) == ("127.0.0.1:3", False, "")
    assert load({}, shell).address == "variable:4"


def test_a_context_by_habit_is_overridden_as_the_file_is(fleets: dict[str, str]) -> None:
    assert load({}, {**fleets, "MPSCTL_CONTEXT": "prod"}).address == "prod:2"
    assert load({}, {**fleets, "MPSCTL_CONTEXT": "prod", "MPSCTL_ADDRESS": "variable:4"}).address == "variable:4"
    path = Path(fleets["XDG_CONFIG_HOME"]) / "mpsctl/config.toml"
    path.write_text(f'context = "staging"\n{CONTEXTS}')
    assert load({}, fleets).address == "127.0.0.1:3"
    assert load({"context": "prod"}, fleets).address == "prod:2"
    assert context_names(fleets) == ["prod", "staging"]


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is not there"):
        load({}, {"MPSCTL_CONFIG": str(tmp_path / "missing.toml")})


def test_a_token_goes_in_the_open_only_where_somebody_says_so(environ: dict[str, str]) -> None:
    path = Path(environ["XDG_CONFIG_HOME"]) / "mpsctl/config.toml"
    path.write_text('address = "far:1"\ntoken_file = "token"\n')
    with pytest.raises(CommandError, match="plain text"):
        load({}, environ)
    assert load({"insecure": True}, environ).token
    assert load({"address": "127.0.0.1:7070"}, environ).token
