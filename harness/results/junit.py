"""JUnit XML of a stored run, one suite a target, with what a CI server can't know as properties."""

from __future__ import annotations

import re
from typing import Final

from junitparser import Attr, Error, Failure, JUnitXml, Properties, Property, Skipped, TestCase, TestSuite

from harness.results.matrix import Matrix, kind_note
from harness.results.model import RunInfo, RunResult
from harness.results.outcome import Outcome

__all__ = ["render_junit"]

#: Characters that XML 1.0 can't hold; guests may put any into names and data.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
