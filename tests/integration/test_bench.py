"""The bench runs and says what it has to; what it says is for people to judge, on a machine that has nothing else to do."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0


async def bench(bootstrap_servers: list[str], *arguments: str) -> tuple[int | None, str, str]:
    """Exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench", *arguments),
        cwd=ROOT,
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": ",".join(bootstrap_servers)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, progress = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode(), progress.decode()


async def test_every_record_is_counted_and_every_stage_has_its_price(kafka_bootstrap: list[str]) -> None:
    code, output, progress = await bench(
        *(kafka_bootstrap, "base", "floor", "ceiling", "stages", "broker-killed"),
        *("--records", "2000", "--repeat", "1", "--json"),
    )
    assert code == 0, progress
    said: dict[str, Any] = json.loads(output)
    assert said["cases"]["base"]["medians"]["records_per_s"] > 0
    assert said["cases"]["base"]["medians"]["first_s"] > 0
    assert said["cases"]["base"]["medians"]["peak_mib"] > 10
    assert said["cases"]["floor"]["medians"]["cpu_us"] > 0
    assert said["cases"]["ceiling"]["medians"]["sink_cpu_us"] > 0
    assert said["cases"]["broker-killed"]["medians"]["on_again_s"] > 0
    assert list(said["stages_us"]) == ["fetch and decode", "pending queue", "order and writer", "settle", "POST"]
    assert "Kafka" in said["about"]["versions"]


async def test_a_case_that_is_not_there_is_named_with_those_that_are(kafka_bootstrap: list[str]) -> None:
    code, _, complaint = await bench(kafka_bootstrap, "bas")
    assert code == 2
    assert "'bas'" in complaint
    assert "base" in complaint
