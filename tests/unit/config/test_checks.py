"""Contradictions between keys, each with a story."""

import copy
from pathlib import Path
from typing import Any

import pytest

from mpsd.config import validate
from mpsd.errors import ConfigError

SUBSCRIPTION: dict[str, Any] = {
    "name": "billing",
    "topics": ["orders"],
    "group": "billing",
    "delivery": {"protocol": "rest", "url": "http://app:8000/orders"},
}


def tree(*more: dict[str, Any], **tables: Any) -> dict[str, Any]:
    first, *others = more or ({},)
    subscriptions = [SUBSCRIPTION | first, *(SUBSCRIPTION | other for other in others)]
    made = {"kafka": {"bootstrap_servers": ["a:1"]}, "subscriptions": subscriptions} | tables
    return copy.deepcopy(made)


def problems(bad: dict[str, Any], **environ: str) -> list[str]:
    try:
        validate(bad, environ=environ)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def kafka(**keys: Any) -> dict[str, Any]:
    return tree(kafka={"bootstrap_servers": ["a:1"], **keys})


OTHER = {"name": "audit", "group": "audit"}


def test_two_subscriptions_may_read_one_topic_in_two_groups() -> None:
    assert problems(tree({}, OTHER)) == []


def test_two_subscriptions_of_one_name() -> None:
    [said] = problems(tree({}, OTHER | {"name": "billing", "topics": ["payments"]}))
    assert said == 'subscriptions[1].name (billing): "billing" is the name of subscriptions[0] too'


def test_one_group_and_topic_twice() -> None:
    [said] = problems(tree({}, {"name": "audit"}))
    assert said.startswith('subscriptions[1].topics[0] (audit): group "billing" reads "orders" already')


def test_one_topic_twice_in_a_subscription() -> None:
    [said] = problems(tree({"topics": ["orders", "orders"]}))
    assert said.startswith("subscriptions[0].topics[1] (billing): ")


@pytest.mark.parametrize("mine", ["orders", "payments"])
def test_dead_letters_never_go_to_a_source_topic_of_any_subscription(mine: str) -> None:
    bad = tree({"dead_letter": {"topic": mine}}, OTHER | {"topics": ["payments"]})
    [said] = problems(bad)
    assert said.startswith(f'subscriptions[0].dead_letter.topic (billing): "{mine}" is a source topic')


def test_a_derived_dead_letter_topic_is_checked_too() -> None:
    [said] = problems(tree({"topics": ["orders", "orders.billing.dlq"]}))
    assert 'dead_letter.topic (billing): "orders.billing.dlq" is a source topic' in said


def test_dead_letters_of_two_subscriptions_are_kept_apart() -> None:
    [said] = problems(tree({"dead_letter": {"topic": "dead"}}, OTHER | {"dead_letter": {"topic": "dead"}}))
    assert "is the dead-letter topic of subscriptions[0] too" in said


def test_the_control_topic_is_no_source_and_takes_no_dead_letters() -> None:
    [said] = problems(tree({"dead_letter": {"topic": "c"}}, control={"topic": "c"}))
    assert "whose compaction would delete dead letters" in said
    [said] = problems(tree({"topics": ["__mps_control"]}))
    assert "which holds no records to deliver" in said


def test_a_drain_shorter_than_a_delivery() -> None:
    [said] = problems(tree({"rebalance": {"drain_timeout_s": 29}}))
    assert "drain_timeout_s (billing): 29 is less than delivery.timeout_s, 30.0" in said


@pytest.mark.parametrize(
    ("delivery", "drain_timeout_s"),
    [
        ({}, 35.0),
        ({"timeout_s": 60}, 65.0),
        ({"timeout_s": 0.5}, 5.5),
        ({"timeout_s": 3_600.0}, 3_605.0),
        ({"protocol": "stream"}, 35.0),
        ({"protocol": "stream", "lease_s": 90.0}, 95.0),
        ({"protocol": "pull", "lease_s": 120.0}, 125.0),
    ],
)
def test_a_drain_follows_the_longest_delivery_unless_it_is_set(
    delivery: dict[str, Any], drain_timeout_s: float
) -> None:
    delivery = {"protocol": "rest"} | delivery
    if delivery["protocol"] == "rest":
        delivery["url"] = "http://app/"
    subscription = {"delivery": delivery}
    assert validate(tree(subscription)).subscriptions[0].rebalance.drain_timeout_s == drain_timeout_s
    given = subscription | {"rebalance": {"drain_timeout_s": 4_000.0}}
    assert validate(tree(given)).subscriptions[0].rebalance.drain_timeout_s == 4_000.0


@pytest.mark.parametrize("url", ["http://app/{topic}", "http://app/?t={header:t}"])
def test_a_batch_cannot_fill_a_url(url: str) -> None:
    delivery = SUBSCRIPTION["delivery"] | {"url": url}
    assert problems(tree({"delivery": delivery})) == []
    [said] = problems(tree({"delivery": delivery | {"batch": {"records_max": 2}}}))
    assert said.startswith("subscriptions[0].delivery.url (billing): has places that each record fills")


@pytest.mark.parametrize("timeout_s", [True, "60", -1, 0, 3_601, None, [60]])
def test_a_drain_does_not_follow_what_no_delivery_can_take(timeout_s: object) -> None:
    [said] = problems(tree({"delivery": SUBSCRIPTION["delivery"] | {"timeout_s": timeout_s}}))
    assert said.startswith("subscriptions[0].delivery.timeout_s (billing): ")


@pytest.mark.parametrize("table", ["retry", "dead_letter"])
def test_a_first_pause_longer_than_the_longest(table: str) -> None:
    [said] = problems(tree({table: {"backoff_initial_s": 2, "backoff_max_s": 1}}))
    assert f"{table}.backoff_initial_s (billing): 2 is more than {table}.backoff_max_s, 1" in said


def test_a_heartbeat_that_hardly_fits_into_the_session() -> None:
    [said] = problems(kafka(session_timeout_ms=5_999))
    assert said.startswith("kafka.heartbeat_interval_ms: 2000 is more than a third of kafka.session_timeout_ms, 5999")
    assert problems(kafka(session_timeout_ms=6_000)) == []


def test_a_heartbeat_that_comes_too_late_to_join() -> None:
    [said] = problems(kafka(rebalance_timeout_ms=3_999))
    assert "2000 is more than half of kafka.rebalance_timeout_ms, 3999" in said


def test_what_is_fetched_ahead_has_to_fit_into_the_bound() -> None:
    assert problems(kafka(fetch_bytes_max=33_554_432)) == []
    [said] = problems(kafka(fetch_bytes_max=33_554_433))
    assert said.startswith("limits.pending_bytes_max: 67108864 is less than 2 times kafka.fetch_bytes_max, 33554433")
    assert said.endswith("raise it to 67108866 or lower kafka.fetch_bytes_max")


def test_a_key_with_a_problem_of_its_own_is_not_compared() -> None:
    [said] = problems(tree({"rebalance": {"drain_timeout_s": "1"}, "delivery": SUBSCRIPTION["delivery"]}))
    assert "must be a number" in said


def test_login_takes_mechanism_username_and_password() -> None:
    said = problems(kafka(security={"protocol": "sasl-ssl"}))
    assert said == [
        f'kafka.security.{key}: is required by protocol "sasl-ssl"' for key in ("mechanism", "username", "password")
    ]


def test_keys_without_effect() -> None:
    said = problems(kafka(security={"protocol": "plaintext", "username": "u", "ca": __file__}))
    assert said == [
        'kafka.security.username: has no effect with protocol "plaintext"; use sasl-ssl or sasl-plaintext',
        'kafka.security.ca: has no effect with protocol "plaintext"; use ssl or sasl-ssl',
    ]


def test_a_certificate_takes_its_key_and_the_reverse() -> None:
    assert problems(kafka(security={"protocol": "ssl", "cert": __file__})) == [
        "kafka.security.key: is required beside cert"
    ]
    https = {"protocol": "rest", "url": "https://app", "tls": {"key": __file__}}
    assert problems(tree({"delivery": https})) == [
        "subscriptions[0].delivery.tls.cert (billing): is required beside key"
    ]


def test_tls_of_a_url_without_it() -> None:
    [said] = problems(tree({"delivery": SUBSCRIPTION["delivery"] | {"tls": {"ca": __file__}}}))
    assert said == "subscriptions[0].delivery.tls (billing): has no effect on an http:// URL; write https://"


@pytest.mark.parametrize("auth", [{}, {"bearer": {"env": "T"}, "basic": {"username": "u", "password": {"env": "T"}}}])
def test_one_kind_of_authentication(auth: dict[str, Any]) -> None:
    [said] = problems(tree({"delivery": SUBSCRIPTION["delivery"] | {"auth": auth}}), T="t")
    assert said == "subscriptions[0].delivery.auth (billing): must hold one of basic and bearer"


def test_one_authorization_header() -> None:
    more = {"auth": {"bearer": {"env": "T"}}, "headers": {"AUTHORIZATION": {"env": "T"}}}
    [said] = problems(tree({"delivery": SUBSCRIPTION["delivery"] | more}), T="t")
    assert said.endswith("sets the header Authorization, which delivery.headers sets too")


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "localhost:1", "127.0.0.1:0"])
def test_loopback_is_open_to_nobody_else(listen: str) -> None:
    assert problems(tree(http={"listen": listen})) == []


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "mps.example:1", "127.evil:1", "localhost.x:1"]
)
@pytest.mark.parametrize("name", ["http", "admin"])
def test_others_get_in_only_by_decision(name: str, listen: str) -> None:
    [said] = problems(tree(**{name: {"listen": listen}}))
    assert f'{name}.listen: "{listen}" can be reached from outside, without TLS and tokens or client cert' in said
    assert problems(tree(**{name: {"listen": listen, "insecure": True}})) == []


def test_an_open_listener_has_tls_and_knows_who_calls(tmp_path: Path) -> None:
    file = tmp_path / "pem"
    file.touch()
    tls = {"cert": str(file), "key": str(file)}
    [said] = problems(tree(http={"listen": "0.0.0.0:1", "tls": tls}))
    assert "without tokens or client certificates" in said
    [said] = problems(tree(http={"listen": "0.0.0.0:1", "tokens_file": str(file)}))
    assert "without TLS;" in said
    assert problems(tree(http={"listen": "0.0.0.0:1", "tls": tls, "tokens_file": str(file)})) == []
    assert problems(tree(http={"listen": "0.0.0.0:1", "tls": tls | {"client_ca": str(file)}})) == []


def test_two_listeners_on_one_address() -> None:
    [said] = problems(tree(http={"listen": "127.0.0.1:7070"}))
    assert said == 'http.listen: "127.0.0.1:7070" is the address of admin.listen too'
    assert problems(tree(http={"listen": "127.0.0.1:0"}, admin={"listen": "127.0.0.1:0"})) == []


def test_blocked_keys_need_keys_and_a_control_topic_with_room() -> None:
    assert problems(tree({"ordering": {"after_dead_letter": "block"}})) == []
    [said] = problems(tree({"ordering": {"after_dead_letter": "block", "by": "partition"}}))
    assert said.startswith(
        'subscriptions[0].ordering.after_dead_letter (billing): blocks keys, and ordering.by is not "key"'
    )
    [said] = problems(tree({"ordering": {"after_dead_letter": "block"}}, control={"topic": ""}))
    assert said.startswith(
        "subscriptions[0].ordering.after_dead_letter (billing): keeps blocked keys in the control topic"
    )
    blocking: list[dict[str, Any]] = [
        {"ordering": {"after_dead_letter": "block", "blocked_keys_max": 100_000}},
        {"name": "b", "topics": ["b"]},
    ]
    assert problems(tree(*blocking)) == []
    blocking[1] |= blocking[0]
    [said] = problems(tree(*blocking))
    assert "(b): all subscriptions may block 200000 keys, which is more than 150000" in said
