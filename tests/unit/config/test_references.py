"""Values from the environment where no secret is meant, and placeholders that nothing expands."""

from typing import Any

import pytest

from mpsd.config import Config, validate
from mpsd.errors import ConfigError


def tree(**keys: Any) -> dict[str, Any]:
    subscription = {
        "name": "billing",
        "topics": ["orders"],
        "group": "billing",
        "delivery": {"protocol": "rest", "url": "http://app"},
    }
    return {"kafka": {"bootstrap_servers": ["a:1"]}, "subscriptions": [{**subscription, **keys}]}


def loaded(given: dict[str, Any], **environ: str) -> Config:
    return validate(given, environ=environ)


def problems(given: dict[str, Any], **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        loaded(given, **environ)
    return [str(problem) for problem in raised.value.problems]


def env(name: str) -> dict[str, str]:
    return {"env": name}


def test_the_group_comes_from_the_environment() -> None:
    assert loaded(tree(group=env("GROUP")), GROUP="prod.billing").subscriptions[0].group == "prod.billing"


@pytest.mark.parametrize("topics", [env("TOPICS"), [env("FIRST"), "payments"]])
def test_topics_come_from_the_environment(topics: object) -> None:
    (subscription,) = loaded(tree(topics=topics), TOPICS="orders, payments", FIRST="orders").subscriptions
    assert subscription.topics == ("orders", "payments")
    assert subscription.dead_letter.topic == "orders.billing.dlq"


def test_a_dead_letter_topic_comes_from_the_environment() -> None:
    given = tree(dead_letter={"topic": env("DLQ"), "retention_s": 60})
    dead_letter = loaded(given, DLQ="letters").subscriptions[0].dead_letter
    assert (dead_letter.topic, dead_letter.retention_s) == ("letters", 60)


def test_checks_between_keys_see_what_the_environment_says() -> None:
    given = tree(group=env("GROUP"))
    given["subscriptions"].append({**given["subscriptions"][0], "name": "other", "group": "g"})
    (problem,) = problems(given, GROUP="g")
    assert "reads" in problem


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"group": env("NONE")}, "subscriptions[0].group (billing)"),
        ({"topics": env("NONE")}, "subscriptions[0].topics (billing)"),
        ({"topics": ["a", env("NONE")]}, "subscriptions[0].topics[1] (billing)"),
        ({"dead_letter": {"topic": env("NONE")}}, "subscriptions[0].dead_letter.topic (billing)"),
    ],
)
def test_a_variable_that_is_not_set_is_the_only_problem(keys: dict[str, Any], path: str) -> None:
    assert problems(tree(**keys)) == [f"{path}: the environment variable NONE is not set"]
    assert problems(tree(**keys), NONE="") == [f"{path}: the environment variable NONE is empty"]


@pytest.mark.parametrize("given", [{"file": "x"}, {"env": 3}, {"env": "A", "file": "b"}])
def test_nothing_else_stands_for_a_group(given: object) -> None:
    (problem,) = problems(tree(group=given), A="a")
    assert '{ env = "NAME" }' in problem


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            tree(group="${GROUP}"),
            (
                'subscriptions[0].group (billing): holds "${GROUP}", and nothing is expanded within a text;'
                ' write { env = "GROUP" } for the whole value'
            ),
        ),
        (
            tree(topics=["${PREFIX:-dev}.orders"]),
            (
                'subscriptions[0].topics[0] (billing): holds "${PREFIX:-dev}", and nothing is expanded within a text;'
                ' write { env = "PREFIX" } for the whole value'
            ),
        ),
        (
            tree(delivery={"protocol": "rest", "url": "${URL}"}),
            (
                'subscriptions[0].delivery.url (billing): holds "${URL}", and nothing is expanded within a text;'
                ' write { env = "URL" } for the whole value'
            ),
        ),
        (
            tree(delivery={"protocol": "rest", "url": "http://a", "headers": {"X-Key": "${KEY}"}}),
            (
                'subscriptions[0].delivery.headers.X-Key (billing): holds "${KEY}", and nothing is expanded within a text;'
                ' write { env = "KEY" } for the whole value'
            ),
        ),
        (
            {**tree(), "kafka": {"bootstrap_servers": ["a:1"], "client_id": "${POD}"}},
            (
                'kafka.client_id: holds "${POD}", and nothing is expanded within a text;'
                " leave the key out and set the environment variable MPS_KAFKA_CLIENT_ID"
            ),
        ),
        (
            tree(name="${NAME}"),
            (
                'subscriptions[0].name (${NAME}): holds "${NAME}", and nothing is expanded within a text;'
                " write the value itself"
            ),
        ),
    ],
)
def test_a_placeholder_is_an_error_that_says_what_to_write(given: dict[str, Any], problem: str) -> None:
    assert problems(given) == [problem]


def test_a_placeholder_in_the_place_of_a_secret_shows_nothing_around_it() -> None:
    given = tree(delivery={"protocol": "rest", "url": "http://a", "auth": {"bearer": "hunter2${TOKEN}"}})
    (problem,) = problems(given)
    assert "hunter2" not in problem
    assert 'write { env = "TOKEN" }' in problem
