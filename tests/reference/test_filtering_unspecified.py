"""The table of the model's own choices speaks of statements that exist and leave something open."""

from __future__ import annotations

import pytest

from harness.catalogue import Catalogue
from harness.reference.filtering.unspecified import UNSPECIFIED

#: Statements that are asserted or avoided as such, and still leave a detail to the model.
OPEN_DETAIL = {"B-REG-30", "B-NOT-36", "B-OBJ-11", "B-CAP-01", "B-APP-08"}


@pytest.mark.parametrize("name", UNSPECIFIED)
def test_a_choice_belongs_to_a_statement_that_is_recorded(name: str) -> None:
    statement = Catalogue.load().get(name)
    assert name in OPEN_DETAIL or "record" in statement.mode


def test_every_choice_says_something() -> None:
    assert all(len(choice) > 20 and not choice.endswith(".") for choice in UNSPECIFIED.values())
