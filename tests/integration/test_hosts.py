"""Two daemons on two hosts, with the configuration of the shipped manifest: each knows the other, or says what is wrong.

Not run where network namespaces cannot be made: that takes Linux, root and iproute2.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests import manifest
from tests.integration.world import Daemon, World, until
from tests.integration.world.mpsctl import Ran
from tests.integration.world.namespaces import Host, two_hosts, why_not
from tests.integration.world.patience import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]

TOKEN = "operator-0123456789"
TOKENS = f'[[tokens]]\nname = "anna"\nrole = "admin"\ntoken = "{TOKEN}"\n'
LOOPBACK_ADMIN = {"MPS_ADMIN_LISTEN": "127.0.0.1:7070", "MPS_ADMIN_ADVERTISE": ""}


class Pod(NamedTuple):
    """A daemon and where it runs."""

    host: Host
    daemon: Daemon

    async def mpsctl(self, *words: str) -> Ran:
        """Run it there, as `kubectl exec` does."""
        process = await asyncio.create_subprocess_exec(
            *(*self.host.run, sys.executable, "-m", "mpsctl", *words),
            env={**os.environ, "MPSCTL_ADDRESS": "127.0.0.1:7070", "MPSCTL_TOKEN": TOKEN},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def instances(self) -> dict[str, Any]:
        """Return the instances that the status lists, by id; none while the daemon does not answer."""
        ran = await self.mpsctl("status", "--json")
        return {each["id"]: each for each in json.loads(ran.out)["instances"]} if ran.out else {}


@asynccontextmanager
async def pods(world: World, environment: Mapping[str, str] | None) -> AsyncIterator[tuple[Pod, Pod]]:
    """Two replicas of the manifest's Deployment, with partitions each.

    Args:
        environment: of both, instead of the manifest's.
    """
    topic = await world.create_topic(4)
    tokens = world.processes.directory / "tokens.toml"
    tokens.write_text(TOKENS)
    (broker,), application = world.kafka.bootstrap_servers, urlsplit(world.application.url)
    broker_port, application_port = int(broker.rpartition(":")[2]), application.port
    assert application_port
    async with two_hosts(world.processes, [broker_port, application_port]) as hosts:
        made = []
        for host in hosts:
            config = manifest.configuration(
                {
                    '"kafka:9092"': f'"{host.address}:{broker_port}"',
                    '"orders"': f'"{topic}"',
                    'group = "billing"': f'group = "{topic}"',
                    "http://billing:8000/orders": world.application.url,
                    manifest.TOKENS_FILE: str(tokens),
                }
            )
            there = manifest.environment(host.address) if environment is None else environment
            made.append(Pod(host, world.run_daemon(config, there, host.run)))
        one, other = made

        def each_has_partitions() -> bool:
            codes = [{line.get("code") for line in pod.daemon.log()} for pod in made]
            return all("partition.assigned" in said for said in codes)

        await until(each_has_partitions, "both have partitions")
        yield one, other


async def know_each_other(*pods: Pod) -> None:
    async def is_so() -> bool:
        for pod in pods:
            found = await pod.instances()
            if len(found) != 2 or not all(each["answered"] and each["partitions"] for each in found.values()):
                return False
        return True

    await until(is_so, "the two know each other and have partitions", every_s=0.2)


@pytest.mark.parametrize("environment", [None, {}], ids=["the manifest", "its defaults"])
async def test_each_knows_the_other_and_a_pause_is_confirmed_only_by_both(
    world: World, environment: dict[str, str] | None
) -> None:
    async with pods(world, environment) as (one, other):
        await know_each_other(one, other)
        addresses = {each["address"] for each in (await one.instances()).values()}
        assert addresses == {f"{pod.host.address}:7070" for pod in (one, other)}
        ran = await one.mpsctl("pause", "billing", "--reason", "maintenance")
        assert (ran.code, ran.out) == (0, "✓ paused billing; confirmed by all 2 daemons\n"), ran
        for pod in (one, other):
            (paused,) = json.loads((await pod.mpsctl("status", "--json")).out)["subscriptions"]
            assert paused["state"] == "paused"
        with other.daemon.frozen():
            ran = await one.mpsctl("resume", "billing", "--json")
            assert ran.code == 3, ran
            changed = json.loads(ran.out)
            assert not changed["confirmed"]
            assert {each["address"]: each["answered"] for each in changed["instances"]} == {
                f"{one.host.address}:7070": True,
                f"{other.host.address}:7070": False,
            }


async def test_loopback_is_an_error_that_says_what_to_set_and_nothing_is_confirmed(world: World) -> None:
    async with pods(world, LOOPBACK_ADMIN) as (one, other):
        for pod in (one, other):

            async def sees_both(pod: Pod = pod) -> bool:
                return len(await pod.instances()) == 2

            await until(sees_both, f"{pod.daemon} lists both", every_s=0.2)
            found = (await pod.instances()).values()
            assert sorted(each["answered"] for each in found) == [False, True]
            for each in found:
                assert "advertises 127.0.0.1:7070" in each["problem"]
                assert "which no other host reaches" in each["problem"]
                assert "set listen in [admin] there" in each["problem"]
            said = [line["message"] for line in pod.daemon.log() if line.get("code") == "fleet.unreachable"]
            assert len(said) == 2, "of each, once"
        ran = await one.mpsctl("pause", "billing", "--reason", "maintenance", "--json")
        assert ran.code == 3, ran
        assert not json.loads(ran.out)["confirmed"]
        ran = await other.mpsctl("doctor", "--json")
        assert ran.code == 1
        wrong = [each for each in json.loads(ran.out)["findings"] if each["code"] == "fleet.unreachable"]
        assert [each["severity"] for each in wrong] == ["error", "error"]
