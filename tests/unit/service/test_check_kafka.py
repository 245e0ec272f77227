"""What `mpsd --check` and `mpsctl doctor` say of a broker that is silent."""

import asyncio
from pathlib import Path

from mpsd.config import load
from mpsd.service.check import check

TEXT = """
[kafka]
bootstrap_servers = ["127.0.0.1:{broker}"]

[[subscriptions]]
name = "billing"
topics = ["orders"]
group = "billing"

[subscriptions.delivery]
protocol = "rest"
url = "http://127.0.0.1:{endpoint}/orders"
"""


async def test_a_silent_broker_is_a_finding_within_the_time_and_hides_no_other(tmp_path: Path) -> None:
    taken: list[asyncio.StreamWriter] = []
    async with (
        await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0) as silent,
        await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0) as endpoint,
    ):
        broker_port, port = (each.sockets[0].getsockname()[1] for each in (silent, endpoint))
        file = tmp_path / "mps.toml"
        file.write_text(TEXT.format(broker=broker_port, endpoint=port))
        findings = await check(load(file, {}), within_s=0.5)
        for writer in taken:
            writer.close()
    kafka = [each for each in findings if each.about == "kafka"]
    assert [(each.ok, each.code, "no answer in time" in each.text) for each in kafka] == [
        (False, "kafka.unavailable", True)
    ]
    assert any(each.about == "billing" and each.ok and "takes connections" in each.text for each in findings)
