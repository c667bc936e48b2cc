"""A reference guest for a module's tests, and a registry for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.guest.base import Guest
from harness.workload import Registry


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    pytest.importorskip(
        "unicorn", reason="the reference guest needs unicorn: pip install regfilter-harness[reference]"
    )
    from harness import reference

    with reference.boot("10.0.26100") as guest:
        yield guest


@pytest.fixture
def registry(guest: Guest) -> Iterator[Registry]:
    with Registry(guest) as registry:
        yield registry
