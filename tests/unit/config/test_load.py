"""From a file to a configuration, or to everything that is wrong with it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.config import Config, RestDelivery, load, validate
from mpsd.config.example import example
from mpsd.errors import ConfigError

MINIMAL = """
[kafka]
bootstrap_servers = ["127.0.0.1:9092"]

[[subscriptions]]
name = "billing"
topics = ["orders"]
group = "billing"
delivery = { protocol = "rest", url = "http://127.0.0.1:8000/orders" }
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mps.toml"
    path.write_text(text)
    return path


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(written(tmp_path, text), environ)
    assert str(raised.value).split("\n") == [str(problem) for problem in raised.value.problems]
    return [str(problem) for problem in raised.value.problems]


def test_the_smallest_configuration_has_every_default(tmp_path: Path) -> None:
    config = load(written(tmp_path, MINIMAL), {})
    assert config.kafka.session_timeout_ms == 20_000
    assert config.subscriptions[0].retry.attempts_max == 13
    assert config.subscriptions[0].delivery == RestDelivery(protocol="rest", url="http://127.0.0.1:8000/orders")


def test_the_dead_letter_topic_says_whose_it_is(tmp_path: Path) -> None:
    config = load(written(tmp_path, MINIMAL), {})
    assert config.subscriptions[0].dead_letter.topic == "orders.billing.dlq"


def test_a_dead_letter_topic_of_ones_own_is_kept(tmp_path: Path) -> None:
    config = load(written(tmp_path, MINIMAL + '[subscriptions.dead_letter]\ntopic = "dead"\nretention_s = 0\n'), {})
    assert (config.subscriptions[0].dead_letter.topic, config.subscriptions[0].dead_letter.retention_s) == ("dead", 0)


def test_a_time_to_start_at_may_be_a_text_or_a_toml_time(tmp_path: Path) -> None:
    starts = ["2026-01-31T12:00:00Z", '"2026-01-31T12:00:00Z"', '"2026-01-31T13:00:00+01:00"']
    for start in starts:
        text = MINIMAL.replace('group = "billing"', f'group = "billing"\nstart = {start}')
        assert str(load(written(tmp_path, text), {}).subscriptions[0].start).startswith("2026-01-31 1")


def test_a_whole_number_will_do_where_a_fraction_may_stand(tmp_path: Path) -> None:
    assert load(written(tmp_path, MINIMAL + "[shutdown]\ngrace_s = 3\n"), {}).shutdown.grace_s == 3.0


def test_statuses_become_numbers(tmp_path: Path) -> None:
    config = load(
        written(tmp_path, MINIMAL.replace("/orders", '/orders", status = { 404 = "dead-letter" }, body = "value')), {}
    )
    delivery = config.subscriptions[0].delivery
    assert isinstance(delivery, RestDelivery)
    assert delivery.status == {404: "dead-letter"}


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml", {})


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})


def test_a_file_of_bytes(tmp_path: Path) -> None:
    path = tmp_path / "mps.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r"is not UTF-8 text \(byte 5\)"):
        load(path, {})


def test_a_slip_in_the_syntax_names_its_line(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, '[kafka]\nclient_id = "a" b\n')
    assert "mps.toml: is not TOML" in problem
    assert "line 2" in problem


def test_nesting_beyond_reason(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, "a = " + "[" * 20_000)
    assert "mps.toml: is n" in problem


def test_an_empty_file_lacks_what_is_required(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == [
        "kafka: is required; a table",
        "subscriptions: is required; a list of 1 to 1000, each a table",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("retry.attempt_max = 3", "retry.attempt_max (billing): is not a known key; did you mean attempts_max?"),
        ("timeout_s = 3", "timeout_s (billing): is not a known key; there is subscriptions.delivery.timeout_s"),
        ("commit.hugo = 3", "commit.hugo (billing): is not a known key; known here: interval_s"),
        ("retry.attempts_max = 0", "must be an integer from 1 to 1000, not 0; the default is 13"),
        ('retry.attempts_max = "5"', 'must be an integer from 1 to 1000, not "5"; the default is 13'),
        ("retry.attempts_max = 5.0", "must be an integer from 1 to 1000, not 5.0; the default is 13"),
        ("retry.attempts_max = true", "must be an integer from 1 to 1000, not true; the default is 13"),
        ("commit.interval_s = nan", "must be a number from 0.05 to 3600, not nan; the default is 1.0"),
        ("commit.interval_s = inf", "must be a number from 0.05 to 3600, not inf; the default is 1.0"),
        ("retry = 3", "retry (billing): must be a table, not a number"),
        ("retry.attempts_max = [1]", "must be an integer from 1 to 1000, not a list; the default is 13"),
        ("retry.attempts_max = 0xfffffffffffffffffffffffff", "not an integer as large; the default is 13"),
        ('ordering.by = "keys"', 'must be "key", "partition" or "none", not "keys"; the default is "key"'),
        ("start = 2026-01-31T12:00:00", "the time needs its offset from UTC"),
        ('start = "soon"', 'must be "earliest", "latest" or an RFC 3339 time, not "soon"'),
        ("start = 3", 'must be "earliest", "latest" or an RFC 3339 time, not 3'),
        ("start = 2026-01-31", "not 2026-01-31"),
    ],
)
def test_a_problem_says_where_what_and_what_is_allowed(tmp_path: Path, line: str, problem: str) -> None:
    [said] = problems(tmp_path, MINIMAL.replace('group = "billing"', f'group = "billing"\n{line}'))
    assert said.startswith("subscriptions[0].")
    assert said.endswith(problem) or problem in said


@pytest.mark.parametrize(
    ("delivery", "problem"),
    [
        (
            'protocol = "stream", url = "http://a"',
            '[0].delivery.url (billing): is not a known key; it is a key of protocol = "rest"',
        ),
        ('protocol = "rest", url = "http://a", lease_s = 3.0', 'it is a key of protocol = "stream"'),
        ('protocol = "pull", lease_s = 31.0, wait_mx_s = 1.0', "did you mean wait_max_s?"),
        ('protocol = "smtp", url = "http://a"', 'protocol (billing): must be "rest", "stream" or "pull", not "smtp"'),
        ('url = "http://a"', 'protocol (billing): is required; "rest", "stream" or "pull"'),
        ('protocol = "rest"', "url (billing): is required; an http:// or https:// URL"),
        ('protocol = "rest", url = "http://a", wait_s = 3', "wait_s (billing): is not a known key"),
        ('protocol = "rest", url = "http://a", status = { 99 = "retry" }', "must be a status code from 100 to 599"),
        ('protocol = "rest", url = "http://a", status = { 404 = "x" }', "status.404 (billing): must be"),
    ],
)
def test_keys_of_another_protocol_are_errors(tmp_path: Path, delivery: str, problem: str) -> None:
    old = 'protocol = "rest", url = "http://127.0.0.1:8000/orders"'
    [said] = problems(tmp_path, MINIMAL.replace(old, delivery))
    assert problem in said


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    second = MINIMAL.partition("[[subscriptions]]")[2].replace("http://", "")
    said = problems(tmp_path, f"{MINIMAL}[[subscriptions]]{second}retries = 3\n[kafak]\n", MPS_HTTP_LISTN="a:1")
    assert [line.partition(" ")[0].rstrip(":") for line in said] == [
        "MPS_HTTP_LISTN",
        "subscriptions[1].delivery.url",
        "subscriptions[1].retries",
        "kafak",
        "subscriptions[1].name",
        "subscriptions[1].topics[0]",
        "subscriptions[1].dead_letter.topic",
    ]


def test_a_list_that_is_no_list(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL.replace('["orders"]', '"orders"')) == [
        (
            "subscriptions[0].topics (billing): must be a list of 1 to 1000,"
            ' each a topic\'s name (1 to 249 of a-z A-Z 0-9 . _ -) or { env = "NAME" }, not a text'
        )
    ]


def test_an_empty_list(tmp_path: Path) -> None:
    [said] = problems(tmp_path, MINIMAL.replace('["orders"]', "[]"))
    assert said.endswith("not 0 items")


def test_problems_within_a_list_do_not_make_it_empty(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL.replace('["orders"]', "[3]")) == [
        'subscriptions[0].topics[0] (billing): must be a topic\'s name (1 to 249 of a-z A-Z 0-9 . _ -) or { env = "NAME" }, not 3'
    ]


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["rest", "http://a", "a:1", "0.0.0.0:1", "sasl-ssl", "key", "a@b"])
    | st.datetimes()
    | st.dates()
    | st.times()
)


def _fields(table: Any) -> list[str]:
    nested = [_fields(inner) for inner in table.get("$defs", {}).values()]
    return sorted({*table.get("properties", {}), *(name for names in nested for name in names)})


KEYS = st.sampled_from([*_fields(Config.model_json_schema()), "env", "file", "404", "x y"])
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6))


@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_no_tree_raises_anything_but_a_list_of_problems(tree: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as raised:
        validate(tree)
    assert raised.value.problems
    assert all("\n" not in str(problem) for problem in raised.value.problems)


@given(st.sampled_from(sorted(set(_fields(Config.model_json_schema())))), TREES, st.integers(0, 3))
def test_one_bad_value_in_a_good_tree_is_no_more_than_a_problem(key: str, value: Any, depth: int) -> None:
    tree: dict[str, Any] = tomllib.loads(example())
    subscription = tree["subscriptions"][0]
    places = [tree, tree["kafka"], subscription, subscription["delivery"]]
    places[depth][key] = value
    try:
        validate(tree)
    except ConfigError as error:
        assert error.problems  # noqa: PT017
