"""Callers by their tokens: files good and bad, headers good and bad."""

from pathlib import Path

import pytest

from mpsd.errors import ConfigError
from mpsd.listeners.rights import Caller, Role
from mpsd.listeners.tokens import Tokens, load_tokens

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
CONSUMER = """
[[tokens]]
name = "app"
role = "consumer"
subscriptions = ["billing", "mail"]
token = "consumer-01234567"

[[tokens]]
name = "mailer"
role = "consumer"
subscriptions = ["*"]
certificate = "mailer.example.com"
"""
NAMES = ("billing", "mail")


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    path = tmp_path / "tokens.toml"
    path.write_text(GOOD)
    return load_tokens("admin", str(path), NAMES)


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


def test_a_consumer_takes_records_of_its_subscriptions_and_nobody_else_does(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(GOOD + CONSUMER)
    tokens = load_tokens("http", str(path), NAMES)
    app, every = tokens.caller("Bearer consumer-01234567"), tokens.caller(None, ["x", "mailer.example.com"])
    assert app is not None
    assert every is not None
    assert (app.role, every.name) == (Role.CONSUMER, "mailer")
    assert app.role < Role.VIEWER, "it calls nothing else"
    assert app.refusal("billing") == every.refusal("whatever") == ""
    assert app.refusal("orders") == (
        "app may take records of billing, mail, not of orders: see its subscriptions in tokens_file"
    )
    for token, name, role in (("viewer-0123456789", "prometheus", "viewer"), ("admin-01234567890", "anna", "admin")):
        other = tokens.caller(f"Bearer {token}")
        assert other is not None
        assert other.refusal("billing") == f"taking records needs the role consumer; {name} has {role}"


def test_a_bearer_token_counts_more_than_a_certificate(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(GOOD + CONSUMER)
    tokens = load_tokens("http", str(path), NAMES)
    assert tokens.caller("Bearer wrong", ["mailer.example.com"]) is None
    assert tokens.caller("", ["mailer.example.com"]) is None
    known = tokens.caller("Bearer viewer-0123456789", ["mailer.example.com"])
    assert known is not None
    assert known.name == "prometheus"
    assert tokens.caller(None, ["stranger.example.com"]) is None


def test_content_is_for_operators_and_for_viewers_that_may(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(GOOD.replace('"viewer"', '"viewer"\ncontent = true') + CONSUMER)
    tokens = load_tokens("admin", str(path), NAMES)
    sees = {token: caller.sees_content for token in ("viewer-0123456789", "admin-01234567890", "consumer-01234567")
            if (caller := tokens.caller(f"Bearer {token}"))}  # fmt: skip
    assert sees == {"viewer-0123456789": True, "admin-01234567890": True, "consumer-01234567": False}
    assert not Caller("prometheus", Role.VIEWER).sees_content


def test_tokens_are_not_shown(tokens: Tokens) -> None:
    assert repr(tokens) == "<Tokens 2, certificates 0>"
    assert "0123" not in repr(vars(tokens))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "tokens: Field required"),
        ("tokens = []", "tokens: "),
        ("[[tokens]]\nname = 'secret-token-here' x", "is not a TOML file"),
        ("\ud800", "is not a TOML file"),
        (GOOD.replace('"viewer"', '"root"'), "tokens[0].role: Input should be 'consumer', 'viewer', "),
        (GOOD.replace("viewer-0123456789", "secret"), "tokens[0].token: String should have at least 16 characters"),
        (GOOD.replace("viewer-0123456789", "secret with blanks in it"), "tokens[0].token: "),
        (GOOD.replace("viewer-0123456789", "admin-01234567890"), "the same token stands there twice"),
        (GOOD.replace("prometheus", "anna"), "the same name stands there twice"),
        (GOOD + "user = 'x'", "tokens[1].user: "),
        (GOOD + "certificate = 'x'", "tokens[1]: must have one of token and certificate"),
        (GOOD.replace('token = "admin-01234567890"', ""), "tokens[1]: must have one of token and certificate"),
        (GOOD + "subscriptions = ['billing']", "tokens[1]: has subscriptions, and the role admin: "),
        (GOOD + "content = true", "tokens[1]: has content, and the role admin: "),
        (GOOD.replace('"admin"', '"daemon"'), "tokens[1]: has the role daemon, and daemons are known by their cert"),
        (GOOD.replace('"admin"', '"consumer"'), "tokens[1]: must have subscriptions: "),
        (
            CONSUMER.replace('"mail"]', '"biling", "orders"]'),
            'tokens[0].subscriptions[1]: "biling" of "app" is no subscrip',
        ),
        (CONSUMER.replace('"mail"]', '"biling", "orders"]'), "tokens[0].subscriptions[2]: "),
        (CONSUMER.replace('"mail"]', '"biling"]'), "there are billing, mail"),
        (
            CONSUMER + CONSUMER.replace("app", "b").replace("-01", "-02").replace('"mailer"', '"c"'),
            "the same certificate",
        ),
        ("#" * 2_000_000, "is longer than"),
    ],
)
def test_a_bad_file_is_refused_without_showing_tokens(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(ConfigError) as caught:
        load_tokens("admin", str(path), NAMES)
    assert str(caught.value).startswith(f"admin.tokens_file: {path}")
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: No such file"):
        load_tokens("admin", str(tmp_path / "nowhere"), NAMES)


def test_the_tokens_of_another_file_are_adopted(tokens: Tokens, tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    path.write_text(GOOD.replace("admin-01234567890", "other-01234567890"))
    tokens.adopt(load_tokens("admin", str(path), NAMES))
    assert tokens.caller("Bearer admin-01234567890") is None
    assert tokens.caller("Bearer other-01234567890") == Caller("anna", Role.ADMIN)
