"""The processes of the demo, as far as they can be told without starting them."""

from pathlib import Path

from mpsd.config.load import load
from mpsd.demo.children import application_file, daemon_config, dead_letter_topic


def test_the_application_is_found() -> None:
    assert "POST /orders" in application_file().read_text()


def test_the_daemon_takes_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "mps.toml"
    file.write_text(daemon_config(["127.0.0.1:9092"], "demo-1", "http://127.0.0.1:8000/orders", 7071))
    (subscription,) = load(file, {}).subscriptions
    assert subscription.topics == ("demo-1",)
    assert subscription.dead_letter.topic == dead_letter_topic("demo-1")
