"""Writes every page of the documentation that is generated from the code: `python -m docs.generate [--check]`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from docs.codes import codes_page
from docs.commands import commands_page
from docs.configuration import configuration_page
from docs.glossary import glossary_page
from docs.metrics import metrics_page
from docs.mpsctl_json import json_page
from docs.protos import admin_page, delivery_page
from docs.states import states_page
from mpsd.config.example import json_schema
from mpsd.delivery.openapi import document

DOCS = Path(__file__).parent


def _schema() -> str:
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _openapi() -> str:
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "reference/admin-api.md": admin_page,
    "reference/commands.md": commands_page,
    "reference/configuration.md": configuration_page,
    "reference/delivery-api.md": delivery_page,
    "reference/errors.md": codes_page,
    "reference/glossary.md": glossary_page,
    "reference/mpsctl-json.md": json_page,
    "reference/metrics.md": metrics_page,
    "reference/states.md": states_page,
    "reference/mps.schema.json": _schema,
    "reference/openapi.json": _openapi,
}
"""Each generated file below docs/ and what makes its text."""


def stale() -> list[str]:
    """Return the files that differ from what the code would generate."""
    return [name for name, text in PAGES.items() if not (DOCS / name).is_file() or (DOCS / name).read_text() != text()]


def main(arguments: list[str]) -> int:
    """Write the pages; with --check only name those that have drifted, and return 1 if there are any."""
    try:
        drifted = stale()
    except ValueError as error:
        print(error)
        return 1
    for name in drifted:
        print(f"docs/{name}")
        if arguments != ["--check"]:
            (DOCS / name).write_text(PAGES[name]())
    return 1 if drifted and arguments == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
