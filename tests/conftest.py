"""Shared by the harness's own tests."""

from __future__ import annotations

from collections.abc import Iterator

# Before pytester's runs in this process, which take away what they were first to import: NumPy can be loaded
# once per process.
import numpy as np  # noqa: F401
import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the host is, nothing about what is tested. The same examples each
# time: a change is refused for what it does, not for what chance finds in another place. Chance has its turn
# with `pytest --hypothesis-profile=explore`.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("harness", settings.get_profile("explore"), derandomize=True, database=None)
settings.load_profile("harness")

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session", autouse=True)
def nobody_is_told() -> Iterator[None]:
    """Runs that tests start are no runs of the CI server that runs these tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
            patch.delenv(name, raising=False)
        yield
