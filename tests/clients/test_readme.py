"""The code of the client's page, run."""

import ast

import pytest

from tests.docs.blocks import ROOT, Block, blocks

PROGRAMS = [block for block in blocks((ROOT / "clients/python/README.md").read_text()) if block.language == "python"]


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: f"line {block.line}")
def test_a_program_shown_runs(block: Block) -> None:
    """All but a call of `run`, which would wait for a daemon."""
    tree = ast.parse(block.text)
    tree.body = [each for each in tree.body if not ast.unparse(each).startswith("run(")]
    exec(compile(tree, f"README.md:{block.line}", "exec"), {})
