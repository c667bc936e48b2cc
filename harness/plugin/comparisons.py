"""Failed comparisons of traces: their lines for pytest, and the same as a JSON file for reports."""

from __future__ import annotations

import pytest

from harness.plugin.options import SETTINGS
from harness.probe.comparison import Comparison
from harness.probe.expect import as_lines, compare
from harness.results.folder import write_evidence

__all__ = ["explain", "keep"]

#: The last comparison that failed in this process; whether it is what failed the test is seen later.
_LAST = pytest.StashKey[Comparison]()


def explain(config: pytest.Config, op: str, left: object, right: object) -> list[str] | None:
    """Lines for pytest's assertrepr hook; None when this is no comparison of a trace."""
    found = compare(op, left, right)
    if found is None:
        return None
    config.stash[_LAST] = found
    return [found.headline, *as_lines(found)]


def keep(item: pytest.Item, failure: str) -> str:
    """The evidence file of the comparison that `failure`, pytest's text, shows; empty when it shows none."""
    found = item.config.stash.get(_LAST, None)
    if found is None:
        return ""
    del item.config.stash[_LAST]
    if found.headline not in failure:
        return ""  # the test survived that one and failed of something else
    data = found.to_text().encode("utf-8")
    return write_evidence(item.config.stash[SETTINGS].run_folder, f"{item.name}.events.json", data)
