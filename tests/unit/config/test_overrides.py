"""Environment variables and flags over the file."""

from typing import Any

import pytest

from mpsd.config import Config, validate
from mpsd.errors import ConfigError

TREE: dict[str, Any] = {
    "kafka": {"bootstrap_servers": ["a:1"], "client_id": "file"},
    "subscriptions": [
        {"name": "a", "topics": ["a"], "group": "a", "delivery": {"protocol": "rest", "url": "http://a"}}
    ],
}


def config(flags: dict[str, object] | None = None, **environ: str) -> Config:
    return validate(TREE, environ=environ, flags=flags)


def problems(flags: dict[str, object] | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        config(flags, **environ)
    return str(raised.value).split("\n")


def test_a_variable_goes_before_the_file_and_a_flag_before_both() -> None:
    assert config().kafka.client_id == "file"
    assert config(MPS_KAFKA_CLIENT_ID="env").kafka.client_id == "env"
    assert config({"kafka.client_id": "flag"}, MPS_KAFKA_CLIENT_ID="env").kafka.client_id == "flag"


def test_the_file_is_left_as_it_was() -> None:
    config(MPS_KAFKA_CLIENT_ID="env")
    assert TREE["kafka"]["client_id"] == "file"


def test_a_text_becomes_what_the_key_is() -> None:
    made = config(
        {"kafka.fetch_bytes_max": 65_536},
        MPS_KAFKA_SESSION_TIMEOUT_MS="30000",
        MPS_SHUTDOWN_GRACE_S="1.5",
        MPS_HTTP_INSECURE="true",
        MPS_KAFKA_BOOTSTRAP_SERVERS="b:1, c:2",
        MPS_LOGGING_LEVEL="debug",
    )
    assert made.kafka.session_timeout_ms == 30_000
    assert made.shutdown.grace_s == 1.5
    assert made.http.insecure is True
    assert made.kafka.bootstrap_servers == ("b:1", "c:2")
    assert made.logging.level == "debug"
    assert made.kafka.fetch_bytes_max == 65_536


def test_a_table_that_the_file_lacks() -> None:
    made = validate({"subscriptions": TREE["subscriptions"]}, environ={"MPS_KAFKA_BOOTSTRAP_SERVERS": "b:1"})
    assert made.kafka.bootstrap_servers == ("b:1",)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "MPS_KAFKA_SESSION_TIMEOUT_MS",
            "30 s",
            'kafka.session_timeout_ms: must be an integer from 1000 to 1800000, not "30 s"',
        ),
        ("MPS_SHUTDOWN_GRACE_S", "nan", "shutdown.grace_s: must be a number from 0 to 3600, not nan"),
        ("MPS_HTTP_INSECURE", "yes", 'http.insecure: must be true or false, not "yes"'),
        ("MPS_KAFKA_BOOTSTRAP_SERVERS", "b:1,", 'kafka.bootstrap_servers[1]: must be host:port, not ""'),
    ],
)
def test_a_bad_value_names_the_variable(name: str, text: str, said: str) -> None:
    [problem] = problems(None, **{name: text})
    assert problem.startswith(said)
    assert problem.endswith(f"set by the environment variable {name}")


def test_a_bad_value_names_the_flag() -> None:
    [problem] = problems({"http.listen": "x"})
    assert problem == 'http.listen: must be host:port, not "x"; set by a flag'


def test_unknown_variables_of_known_tables() -> None:
    assert problems(MPS_KAFKA_CLIENTID="a") == [
        "MPS_KAFKA_CLIENTID: is not a variable of any key that can be set so; did you mean MPS_KAFKA_CLIENT_ID?"
    ]
    assert len(problems(MPS_SUBSCRIPTIONS_NAME="a", MPS_KAFKA_SECURITY_PASSWORD="hunter2", MPS_ADMIN_TLS="a")) == 3


def test_an_unknown_flag() -> None:
    [problem] = problems({"kafka.client": "a"})
    assert problem == "kafka.client: is not a key that a flag can set; did you mean kafka.client_id?"


def test_variables_of_others() -> None:
    config(
        MPS_CACHE_DIR="a",
        MPSCTL_ADDRESS="a",
        MPS_HTTP_SERVICE_HOST="10.0.0.1",  # what Kubernetes sets for a service named mps-http
        MPS_HTTP_SERVICE_PORT="80",
        MPS_HTTP_SERVICE_PORT_METRICS="80",
        MPS_HTTP_PORT="tcp://10.0.0.1:80",
        MPS_HTTP_PORT_80_TCP_ADDR="10.0.0.1",
    )


def test_a_table_that_is_no_table_is_said_once() -> None:
    with pytest.raises(ConfigError) as raised:
        validate({**TREE, "http": 3}, environ={"MPS_HTTP_LISTEN": "a:1"})
    assert str(raised.value) == "http: must be a table, not a number"
