"""The manifests in deploy/ hold configurations that are valid."""

import re
import textwrap
import tomllib
from pathlib import Path

from mpsd.config import RestDelivery, validate

MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes.yaml"


def test_the_configuration_in_the_manifest_is_valid(tmp_path: Path) -> None:
    manifest = MANIFEST.read_text()
    found = re.search(r"^  mps\.toml: \|\n(?P<text>(?:    .*\n|\n)+)", manifest, re.MULTILINE)
    assert found
    config = validate(tomllib.loads(textwrap.dedent(found["text"])), environ={}, directory=tmp_path)
    (grace,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", manifest)
    delivery = config.subscriptions[0].delivery
    assert isinstance(delivery, RestDelivery)
    assert float(grace) > config.shutdown.grace_s > delivery.timeout_s
