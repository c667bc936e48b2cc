"""Trouble at the end of a block: raised, but never instead of what ended the block."""

from __future__ import annotations

import pytest

from harness.cleanup import Closing
from harness.errors import InfrastructureError


class Stuck(Closing):
    def close(self) -> None:
        raise InfrastructureError("the machine does not end")


def test_trouble_while_closing_is_raised() -> None:
    with pytest.raises(InfrastructureError, match="does not end"), Stuck():
        pass


def test_what_ended_the_block_stays_what_is_raised() -> None:
    with pytest.raises(ZeroDivisionError) as raised, Stuck():
        raise ZeroDivisionError("what the test is about")
    assert raised.value.__notes__ == ["cleaning up failed too: the machine does not end"]
