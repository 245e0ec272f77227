"""The planted bugs follow the code: `make mutants` runs once a week, which is late to hear that the text of an edit is gone."""

import pytest

from tests.mutants.__main__ import ROOT
from tests.mutants.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_text_of_each_edit_stands_in_the_code_exactly_once(mutant: Mutant) -> None:
    for edit in mutant.edits:
        assert (ROOT / "server" / "mpsd" / edit.file).read_text().count(edit.old) == 1, edit
