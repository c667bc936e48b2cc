"""The leak gate on machines: clones of a tiny guest, with a scripted kernel that tells what drivers hold."""

from __future__ import annotations

import json
import secrets
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from harness.driver import build_signed, project_drivers
from harness.errors import ToolMissingError
from harness.workload.registry import HARNESS_KEY
from tests.machine.tinyguest import build
from tests.machine.tinyguest.recipe import write_tiny_recipe

pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")

_ROOT = Path(__file__).parents[2]
_CONFTEST = f"""
import sys
sys.path.insert(0, {str(_ROOT)!r})
from tests.plugin.leaky_machines import install
install()
"""
_MODULE = """
from pathlib import Path

def test_it(guest):
    guest.install_driver({name!r}, Path({image!r}).read_bytes())
    guest.start_driver({name!r})
    {unload}
"""
_UNLOAD = "guest.stop_driver({name!r})"


@pytest.fixture(scope="module")
def image() -> Path:
    """A driver whose code mentions the tag 'Wrng'."""
    try:
        return build_signed(project_drivers()["leak_per_callback"], "x86").image
    except ToolMissingError as error:
        pytest.skip(str(error))


def test_what_is_left_fails_its_module_and_what_is_not_known_is_named(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    machine_cache: Path,
    image: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    write_tiny_recipe(pytester.path / "recipes")
    pytester.makeconftest(_CONFTEST)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider --strict-markers\nfilterwarnings = error\n")
    monkeypatch.setenv("HARNESS_CACHE", str(machine_cache))
    monkeypatch.setenv("TINY_KERNEL", str(build(tmp_path_factory.mktemp("tiny"))))
    monkeypatch.setenv("TINY_DIGEST", secrets.token_hex(16))
    for name in ("clean", "pool", "key", "stays", "old"):
        unload = "" if name == "stays" else _UNLOAD.format(name=name)
        module = _MODULE.format(name=name, image=str(image), unload=unload)
        pytester.makepyfile(**{f"test_{name}": module})
    installed = any(point.value == "harness.plugin" for point in entry_points(group="pytest11"))
    plugin = ("-p", "no:hypothesispytest", *(() if installed else ("-p", "harness.plugin")))
    result = pytester.runpytest_subprocess(
        *plugin, "--recipes", "recipes", "--target", "vm:tiny", "--run-folder", "run"
    )
    rows = [json.loads(line) for line in (pytester.path / "run" / "rows.jsonl").read_text().splitlines()]
    gates = {row["test"].partition(".")[0]: row for row in rows if row["test"].endswith("::leak-gate")}
    assert {name: (row["outcome"], left(row)) for name, row in gates.items()} == {
        "test_clean": ("PASS", []),
        "test_pool": ("FAIL", ["pool: pool.sys, tag 'Wrng', nonpaged (64 bytes)"]),
        "test_key": ("FAIL", [f"handles on keys: {HARNESS_KEY}\\app, opened by System"]),
        "test_stays": ("FAIL", ["loaded drivers: stays.sys"]),
        "test_old": ("PASS", []),
    }
    assert "older than this harness" in gates["test_old"]["recorded"]["unknown: pool"]
    assert "older than this harness" in gates["test_old"]["recorded"]["unknown: handles on keys"]
    assert "unknown: handles on keys" not in gates["test_clean"]["recorded"]
    result.assert_outcomes(passed=5, failed=3)


def left(row: dict[str, Any]) -> list[str]:
    return [line.strip() for line in row["detail"].splitlines()[1:]]
