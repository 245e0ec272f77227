"""The example, the printed configuration and the schema say what the models say."""

import json
import re
import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mpsd.config import load, print_config, validate
from mpsd.config.example import example, json_schema
from mpsd.config.problems import tables
from mpsd.config.root import Config
from mpsd.config.shapes import describe, shape_of, table_of
from mpsd.config.toml import toml_key, toml_value


def test_the_example_loads(tmp_path: Path) -> None:
    path = tmp_path / "mps.toml"
    path.write_text(example())
    assert load(path, {}).subscriptions[0].name == "billing"


def test_the_example_shows_every_key() -> None:
    shown = set(re.findall(r"^#{0,2}([a-z_]+) = ", example(), re.MULTILINE))
    assert shown == {
        key for _, table in tables(Config) for key, field in table.model_fields.items() if table_of(field) is None
    }


def test_what_the_example_shows_as_defaults_are_the_defaults(tmp_path: Path) -> None:
    """Every commented key that needs nothing else is switched on; nothing changes."""
    numbers_and_choices = re.sub(r"^#([a-z_]+ = (?:[0-9]|true|false|\"(?!/)).*)", r"\1", example(), flags=re.MULTILINE)
    kept = re.sub(
        r"^(mechanism|username|key|cert|ca|client_ca|tokens_file|topic = \"orders).*",
        "",
        numbers_and_choices,
        flags=re.MULTILINE,
    )
    assert validate(tomllib.loads(kept)) == validate(tomllib.loads(example()))
    assert len(tomllib.loads(kept)["subscriptions"][0]["retry"]) == 8


def test_what_is_printed_loads_again() -> None:
    tree = tomllib.loads(example())
    tree["subscriptions"][0]["start"] = "2026-01-31T12:00:00Z"
    tree["subscriptions"][0]["delivery"] |= {
        "headers": {"X-A.B": 'say "é"\t', "X-B": {"env": "A"}},
        "status": {"404": "dead-letter"},
        "auth": {"bearer": {"env": "A"}},
    }
    config = validate(tree, environ={"A": "hunter2"})
    assert validate(tomllib.loads(print_config(config)), environ={"A": "hunter2"}) == config


@given(st.text())
def test_any_text_survives_as_toml(text: str) -> None:
    assert tomllib.loads(f"{toml_key(text)} = {toml_value(text)}") == {text: text}


@given(
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.text())
)
def test_any_value_survives_as_toml(value: object) -> None:
    assert tomllib.loads(f"a = {toml_value(value)}") == {"a": value}


def test_every_key_has_a_reason_a_range_and_a_unit() -> None:
    """A default that differs from nothing says why; a number says its unit in its name or counts things."""
    counts = {"failing_key_after", "successes_between", "replication_factor", "concurrency_max", "records_max"}
    counts |= {
        "attempts_max",
        "crowding_attempts_max",
        "failures_min",
        "rejections_max",
        "failing_keys_max",
        "lanes_min",
        "metadata_units_max",
    }
    counts |= {"blocked_keys_max", "replays_max", "streams_max", "waiters_max"}
    for path, table in tables(Config):
        assert (table.__doc__ or "").strip().endswith(".")
        for name, field in table.model_fields.items():
            kind, _ = shape_of(field)
            assert (field.description or "").endswith("."), (path, name)
            assert describe(shape_of(field)), (path, name)
            if kind in (int, float):
                assert name in counts or name.endswith(("_s", "_ms", "_bytes_max", "bytes_max")), (path, name)
                assert " from " in describe(shape_of(field)), (path, name)
            if not field.is_required() and field.default and table_of(field) is None:
                assert ";" in (field.description or ""), f"{path} {name} does not say why its default is what it is"


def test_the_schema_admits_the_example_and_refuses_unknown_keys() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["kafka", "subscriptions"]
    assert json.loads(json.dumps(schema)) == schema
