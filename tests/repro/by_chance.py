"""A plugin for runs of tests: of the texts that are written, the model spoils the first, the fourth ...

BY_CHANCE names a file that grows by a byte for each text, so that processes count together.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    from harness.reference.cm.operations import KeyOperations
    from harness.registry.valuetypes import ValueType

    right = KeyOperations.set_value
    counter = Path(os.environ["BY_CHANCE"])

    def wrong(self, key, name, type_, data, *, transaction=None):  # type: ignore[no-untyped-def]
        if type_ == ValueType.SZ:
            count = counter.stat().st_size if counter.exists() else 0
            with counter.open("ab") as file:
                file.write(b".")
            if count % 3 == 0:
                data = data[:-4] + b"\0\0"
        return right(self, key, name, type_, data, transaction=transaction)

    KeyOperations.set_value = wrong  # type: ignore[method-assign]
    config.add_cleanup(lambda: setattr(KeyOperations, "set_value", right))
