"""Shrinking a failure that no assertion of its test tells: what is right is seen on another target."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.pytest_command import pytest_command
from harness.repro.bundle import Bundle
from tests.repro.commands import bundle_of, harness

pytest.importorskip("unicorn", reason="the reference guest needs unicorn")

#: Fails where nobody is asked about security: before 6.0 there is no such callback.
_SUITE = """
def test_asked(probe, registry):
    probe.add("380020")
    with registry.program() as p:
        app = p.create_key(p.test_root / "app")
        p.set_value(app, "noise", 1)
        p.query_security(app, 4)
        p.delete_value(app, "noise")
    asked = [line for line in str(probe.trace).splitlines() if "KeySecurity" in line]

    def complain():
        raise AssertionError("nobody was asked")

    if not asked:
        complain()
"""


def test_the_control_tells_what_should_have_happened(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(_SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    results = tmp_path / "results"
    command = [*pytest_command(), "-q", f"--results={results}", "--target", "reference:5.2"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    bundle = bundle_of(results, "test_asked")
    with Bundle.open(bundle) as opened:
        assert opened.manifest.claim is None
        assert opened.manifest.no_claim.startswith("it needs complain, a function")

    same = harness("shrink", bundle, "--control", "reference:5.2", cwd=tmp_path)
    assert same.code == 2
    assert "nothing to tell the failure by" in same.err
    done = harness(
        "shrink", bundle, "--control", "reference:6.1", "-o", tmp_path / "test_small.py", cwd=tmp_path
    )
    assert done.code == 0, done.err
    assert "run, and fails in the same way" in done.out
    text = (tmp_path / "test_small.py").read_text()
    assert "passes on reference:6.1" in text
    program, claim = text[text.index("with registry.program()") :].split("assert ")
    assert "noise" not in program
    assert "p.query_security(key, 4)" in program
    assert claim.startswith("shown(probe.trace.of(step).seen_by(watcher)) == ")
    assert "PreQueryKeySecurity" in claim
