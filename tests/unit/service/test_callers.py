"""Tokens files that cannot be used: found before anything starts, in every table, by `--check` and by the start."""

from pathlib import Path
from typing import Any

import pytest

from mpsd.config import Config
from mpsd.errors import ConfigError
from mpsd.service.callers import check_tokens, token_findings
from mpsd.service.service import Service

TYPO = """
[[tokens]]
name = "app"
role = "consumer"
subscriptions = ["biling"]
token = "consumer-01234567"
"""


def configured(**tables: Any) -> Config:
    subscription = {"name": "billing", "topics": ["orders"], "group": "billing", "delivery": {"protocol": "pull"}}
    kafka = {"bootstrap_servers": ["127.0.0.1:1"]}
    return Config.model_validate({"kafka": kafka, "subscriptions": [subscription], **tables})


@pytest.mark.parametrize("table", ["admin", "http", "stream"])
def test_a_token_of_an_unknown_subscription_is_an_error_at_the_start_that_names_it(tmp_path: Path, table: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(TYPO)
    config = configured(**{table: {"tokens_file": str(path)}})
    said = f'{table}.tokens_file: {path}: tokens[0].subscriptions[0]: "biling" of "app" is no subscription; there are billing'
    with pytest.raises(ConfigError) as caught:
        Service(config, lambda: 0)
    assert str(caught.value) == said
    (finding,) = token_findings(config)
    assert (finding.ok, finding.works, f"{finding.about}: {finding.text}") == (False, False, said)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(TYPO)
    config = configured(admin={"tokens_file": str(path)}, http={"tokens_file": str(path)})
    with pytest.raises(ConfigError) as caught:
        check_tokens(config)
    assert [problem.path for problem in caught.value.problems] == ["admin.tokens_file", "http.tokens_file"]


def test_files_that_are_well_are_no_finding(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(TYPO.replace("biling", "billing"))
    assert token_findings(configured(http={"tokens_file": str(path)})) == []
    check_tokens(configured())
