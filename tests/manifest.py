"""The shipped Kubernetes manifest, as far as the daemon sees it: its configuration file and its environment."""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

MANIFEST = Path(__file__).parents[1] / "deploy" / "kubernetes.yaml"
TOKENS_FILE = "/etc/mps-tokens/tokens.toml"
POD_IP = "$(POD_IP)"


def configuration(replaced: Mapping[str, str]) -> str:
    """Return the text of mps.toml.

    Args:
        replaced: what stands in the manifest for the reader to replace, each exactly once, and what to put there.
    """
    found = re.search(r"^  mps\.toml: \|\n(?P<text>(?:    .*\n|\n)+)", MANIFEST.read_text(), re.MULTILINE)
    assert found
    text = textwrap.dedent(found["text"])
    for old, new in replaced.items():
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the configuration of the manifest"
        text = text.replace(old, new)
    return text


def environment(address: str) -> dict[str, str]:
    """Return the variables of the container that override the configuration.

    Args:
        address: of the pod.
    """
    pairs = re.findall(r'- \{name: (MPS_\w+), value: "([^"]+)"\}', MANIFEST.read_text())
    assert pairs
    return {name: value.replace(POD_IP, address) for name, value in pairs}
