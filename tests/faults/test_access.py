"""Permissions that are withdrawn from a daemon in flow, and granted again."""

import json

import pytest

from tests.faults.figures import Figures
from tests.faults.fleet import PARTITIONS, REPEATED_S, Fleet, Quiet, lasts
from tests.integration.world import until

REFUSED_S = 3.0

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("what", ["group", "topic"])
async def test_a_permission_is_revoked_and_granted_again(guarded: Fleet, figures: Figures, what: str) -> None:
    name = {what: await guarded.create_topic()}
    await guarded.start("a")
    daemon = guarded["a"]
    async with guarded.load(per_s=200):
        await guarded.more(100)
        guarded.cut()
        await guarded.forbid(**name)
        with Quiet(daemon) as quiet:

            async def is_told() -> bool:
                status, body = await daemon.get("/readyz")
                return status == 503 and "authorization" in json.loads(body)["reasons"][0].lower()

            await until(is_told, "it says what is refused")
            await lasts(REFUSED_S)
        guarded.cut()
        await guarded.permit(**name)
        await daemon.ready()
        await guarded.more(100)
    cost = await guarded.settle(REPEATED_S + REFUSED_S)
    assert (await daemon.metrics()).sum("mps_assigned_partitions") == PARTITIONS
    figures.note(f"permission for the {what} revoked, granted again", **cost, **quiet.figures)
