"""A fault for the tutorial: on Windows 7, this model forgets the last character of a text that is written.

A pytest plugin; it changes the reference guest for a run that is told to load it:

    harness run suites/demo -p docs.examples.planted_model -t reference:6.1
"""

from __future__ import annotations

import pytest

from harness.reference.cm.operations import KeyOperations
from harness.registry.valuetypes import ValueType
from harness.registry.version import WIN7

_END = b"\0\0"


def pytest_configure(config: pytest.Config) -> None:
    right = KeyOperations.set_value

    def wrong(self, key, name, type_, data, *, transaction=None):  # type: ignore[no-untyped-def]
        if self.version == WIN7 and type_ == ValueType.SZ and data.endswith(_END):
            data = data[:-4] + _END
        return right(self, key, name, type_, data, transaction=transaction)

    KeyOperations.set_value = wrong  # type: ignore[method-assign]
    config.add_cleanup(lambda: setattr(KeyOperations, "set_value", right))
