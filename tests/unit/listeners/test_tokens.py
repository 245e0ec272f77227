"""Who calls: files good and bad, headers good and bad."""

from pathlib import Path

import pytest

from mpsd.errors import ConfigError
from mpsd.listeners.tokens import Caller, Role, Tokens, load_tokens

GOOD = """
[[tokens]]
name = "prometheus"
role = "viewer"
token = "viewer-0123456789"

[[tokens]]
name = "anna"
role = "admin"
token = "admin-01234567890"
"""


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    path = tmp_path / "tokens.toml"
    path.write_text(GOOD)
    return load_tokens("admin", str(path))


@pytest.mark.parametrize(
    "header", ["Bearer admin-01234567890", "bearer admin-01234567890", " BEARER  admin-01234567890 "]
)
def test_a_known_token_names_its_caller(tokens: Tokens, header: str) -> None:
    assert tokens.caller(header) == Caller("anna", Role.ADMIN)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer admin-0123456789",
        "Bearer admin-01234567890x",
        "Basic admin-01234567890",
        "Bearer ä" * 99,
    ],
)
def test_any_other_is_nobody(tokens: Tokens, header: str | None) -> None:
    assert tokens.caller(header) is None


def test_each_role_may_what_those_before_it_may() -> None:
    assert Role.VIEWER < Role.OPERATOR < Role.ADMIN


def test_tokens_are_not_shown(tokens: Tokens) -> None:
    assert repr(tokens) == "<Tokens 2>"
    assert "0123" not in repr(vars(tokens))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "tokens: Field required"),
        ("tokens = []", "tokens: "),
        ("[[tokens]]\nname = 'secret-token-here' x", "is not a TOML file"),
        ("\ud800", "is not a TOML file"),
        (GOOD.replace('"viewer"', '"root"'), r"tokens[0].role: Input should be 'viewer', 'operator' or 'admin'"),
        (GOOD.replace("viewer-0123456789", "secret"), "tokens[0].token: String should have at least 16 characters"),
        (GOOD.replace("viewer-0123456789", "secret with blanks in it"), "tokens[0].token: "),
        (GOOD.replace("viewer-0123456789", "admin-01234567890"), "the same token stands there twice"),
        (GOOD.replace("prometheus", "anna"), "the same name stands there twice"),
        (GOOD + "user = 'x'", "tokens[1].user: "),
        ("#" * 2_000_000, "is longer than"),
    ],
)
def test_a_bad_file_is_refused_without_showing_tokens(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(ConfigError) as caught:
        load_tokens("admin", str(path))
    assert str(caught.value).startswith(f"admin.tokens_file: {path}")
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: No such file"):
        load_tokens("admin", str(tmp_path / "nowhere"))


def test_the_tokens_of_another_file_are_adopted(tokens: Tokens, tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    path.write_text(GOOD.replace("admin-01234567890", "other-01234567890"))
    tokens.adopt(load_tokens("admin", str(path)))
    assert tokens.caller("Bearer admin-01234567890") is None
    assert tokens.caller("Bearer other-01234567890") == Caller("anna", Role.ADMIN)
