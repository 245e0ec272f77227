"""`mpsd dev`: records of a file to an application, on the run's Kafka."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.integration.world import Answer, Request, World, until

pytestmark = pytest.mark.integration

LINES = """\
{"key": "k1", "value": "one"}
{"key": "k1", "value": "two"}
{"value": "poison"}
{"key": "k2", "value": null}
"""


def answers(request: Request) -> Answer:
    return Answer(422) if request.record.value == b"poison" else Answer(200)


async def dev(world: World, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mpsd", "dev", "--url", world.application.url, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"KAFKA_BOOTSTRAP_SERVERS": ",".join(world.kafka.bootstrap_servers)},
    )


async def test_it_says_what_became_of_each_record(world: World, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text(LINES)
    world.application.behaviour = answers
    process = await dev(world, "--records", str(file), "--json")
    output, progress = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1, progress.decode()
    said = json.loads(output)
    assert [record["state"] for record in said["records"]] == ["accepted", "accepted", "dead_letter", "accepted"]
    assert said["records"][2]["disposition"] == "rejected"
    assert "attempt 1" in progress.decode()


async def test_json_arrives_as_json_and_a_delivery_that_costs_nothing_is_no_attempt(
    world: World, tmp_path: Path
) -> None:
    """A 503 says that the application is busy: it is delivered again, and still on its first attempt."""
    file, types = tmp_path / "records.jsonl", list[str]()
    file.write_text(
        '{"key": "k1", "value": {"order": 1}}\n{"key": "k1", "value": [1]}\n{"key": "k1", "value": "text"}\n'
    )

    def busy_at_first(request: Request) -> Answer:
        types.append(request.headers["content-type"])
        return Answer(503) if len(types) <= 2 else Answer(200)

    world.application.behaviour = busy_at_first
    process = await dev(world, "--records", str(file), "--json")
    output, progress = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, progress.decode()
    assert types == ["application/json"] * 4 + ["application/octet-stream"]
    first, *others = json.loads(output)["records"]
    assert (first["attempts_counted"], len(first["attempts"])) == (1, 3)
    assert [each["attempts_counted"] for each in others] == [1, 1]


async def test_it_plays_the_file_again_when_it_changes(world: World, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text(LINES)
    process = await dev(world, "--records", str(file), "--watch")
    try:
        await until(lambda: world.application.requests == 4, "four deliveries")
        assert process.stdout
        while b"waiting for a change" not in await asyncio.wait_for(process.stdout.readline(), 60):
            pass
        file.write_text("{")  # an editor that saves half a thought
        os.utime(file, (1, 1))
        while b"waiting for the next change" not in await asyncio.wait_for(process.stdout.readline(), 60):
            pass
        file.write_text(LINES + '{"value": "more"}\n')
        await until(lambda: world.application.requests == 9, "five more")
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode in {0, 130}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_what_cannot_be_used_is_said_before_anything_starts(world: World, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text('{"key": 1}')
    process = await dev(world, "--records", str(file))
    _, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, complaint.decode()) == (
        1,
        f'mpsd: {file}, line 1: no "value"; write null for a tombstone\n',
    )
