"""The manifests in deploy/ hold configurations that are valid, and lead daemons to each other."""

import re
import tomllib
from pathlib import Path

from mpsd.commands.app import Exit
from mpsd.config import Config, RestDelivery, validate
from mpsd.config.daemon import Shutdown
from mpsd.config.values import split_address
from tests import manifest


def configured(directory: Path, address: str = "10.1.2.3") -> Config:
    tokens = directory / "tokens.toml"
    tokens.touch()
    text = manifest.configuration({manifest.TOKENS_FILE: str(tokens)})
    return validate(tomllib.loads(text), environ=manifest.environment(address), directory=directory)


def test_the_configuration_in_the_manifest_is_valid(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (grace,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", manifest.MANIFEST.read_text())
    delivery = config.subscriptions[0].delivery
    assert isinstance(delivery, RestDelivery)
    assert float(grace) > config.shutdown.grace_s > delivery.timeout_s


def test_each_pod_advertises_its_own_address_for_what_other_pods_reach(tmp_path: Path) -> None:
    config, ports = configured(tmp_path), re.findall(r"containerPort: (\d+)", manifest.MANIFEST.read_text())
    for listener in (config.admin, config.http):
        host, port = split_address(listener.listen)
        assert host == "0.0.0.0", "other pods reach it"
        assert listener.advertise == f"10.1.2.3:{port}"
        assert str(port) in ports
    assert config.admin.tokens_file, "whoever reaches a pod is not its operator"


def test_the_configuration_of_compose_is_valid_and_each_daemon_has_its_own_address(tmp_path: Path) -> None:
    folder = manifest.MANIFEST.parent
    loaded = tomllib.loads((folder / "compose/mps.toml").read_text())
    addresses = set()
    for line in re.findall(r"environment: \{(MPS_ADMIN_ADVERTISE.*)\}", (folder / "compose.yaml").read_text()):
        environ = dict(re.findall(r'(MPS_\w+): "([^"]+)"', line))
        addresses.add(validate(loaded, environ=environ, directory=tmp_path).admin.advertise)
    assert addresses == {"mpsd-1:7070", "mpsd-2:7070"}


def test_the_unit_gives_the_daemon_time_to_stop_and_does_not_restart_a_wrong_configuration() -> None:
    unit = (manifest.MANIFEST.parent / "systemd/mpsd@.service").read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert float(settings["TimeoutStopSec"]) > Shutdown().grace_s
    assert settings["RestartPreventExitStatus"] == str(Exit.USAGE.value)
    assert settings["ExecReload"].endswith("-HUP $MAINPID")
