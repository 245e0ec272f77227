"""The settings that daemons of a fleet compare."""

from pathlib import Path

from mpsd.config import load
from mpsd.config.effective import HASH_CHARS, effective_settings, settings_hash

TEXT = """
[kafka]
bootstrap_servers = ["127.0.0.1:9092"]
security = { protocol = "sasl-ssl", mechanism = "PLAIN", username = "ann", password = { env = "KAFKA_PASSWORD" } }

[admin]
listen = "127.0.0.1:7070"

[[subscriptions]]
name = "billing"
topics = ["orders"]
group = "billing"

[subscriptions.delivery]
protocol = "rest"
url = "http://127.0.0.1:8000/orders?token=hush"
headers = { X-Team = "hush" }
"""


def settings(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "mps.toml"
    file.write_text(text)
    return dict(effective_settings(load(file, {"KAFKA_PASSWORD": "hush"})))


def test_every_setting_is_there_by_its_path_defaults_too(tmp_path: Path) -> None:
    found = settings(tmp_path, TEXT)
    assert found["subscriptions.billing.group"] == '"billing"'
    assert found["subscriptions.billing.retry.attempts_max"].isdigit()
    assert found["kafka.bootstrap_servers"] == '["127.0.0.1:9092"]'


def test_no_secret_is_there(tmp_path: Path) -> None:
    found = settings(tmp_path, TEXT)
    assert "hush" not in str(found)
    assert "ann" not in str(found.values())
    assert found["kafka.security.password"] == '{ env = "KAFKA_PASSWORD" }'
    assert found["subscriptions.billing.delivery.headers"] == "[X-Team]"
    assert found["subscriptions.billing.delivery.url"] == '"http://127.0.0.1:8000/orders…"'


def test_what_is_each_daemons_own_makes_no_difference(tmp_path: Path) -> None:
    one = settings(tmp_path, TEXT)
    other = settings(tmp_path, TEXT.replace("7070", "7079"))
    assert settings_hash(one) == settings_hash(other)
    assert not [path for path in one if path.endswith((".listen", ".advertise"))]


def test_a_setting_that_differs_makes_another_hash(tmp_path: Path) -> None:
    one = settings_hash(settings(tmp_path, TEXT))
    other = settings_hash(settings(tmp_path, TEXT.replace('["orders"]', '["payments"]')))
    assert (len(one), one != other) == (HASH_CHARS, True)
