"""A driver of your own between two filters of the probe: what it lets through and what it changes.

    harness run suites/own-driver --driver my.sys --target reference:10.0.26100

Every ordinary operation is performed once. Outcomes:

- PASS: the operation went through unchanged, or what the driver changed is in the results (`record`):
  blocked, completed in between, status, input or output changed, calls of its own.
- FAIL: the requester got something else than the filter above saw in its post notification, or that filter
  got a pre and no post. Nobody between two filters can do that within the rules.
- CRASH, HANG: the driver brought the guest down; the failure line has the code, its stack the driver.
- SKIP: this Windows has no such operation, or the driver stopped what the test needed first (it is named).
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.between import CHANGED, UNCHANGED, Between, Change, changes
from harness.guest import Guest
from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.notify import Post, Pre
from harness.registry.status import status_name
from harness.workload import Registry, RegistryValue
from suites.scene import Scene
from suites.support import behaviour, requires, shown
from suites.workloads import WORKLOADS, Workload


def tell(record: Recorder, what: str, found: Sequence[Change]) -> None:
    """Into the results, and a change into the summary of the run as well."""
    record(f"{CHANGED}{what}" if found else what, "; ".join(map(str, found)) or UNCHANGED)


@behaviour("B-LAY-06")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_operation(
    own_driver: Between, scene: Scene, guest: Guest, probe: Probe, record: Recorder, workload: Workload
) -> None:
    if not workload.expected(guest.info.version):
        pytest.skip(f"Windows {guest.info.version} delivers no notification for {workload}")
    scene.prepare_through(workload)

    step = scene.perform(workload)

    trace = probe.trace.of(step)
    found = changes(trace, own_driver.above, own_driver.below)
    tell(record, str(workload), found)
    record(f"{workload}: caller's status", status_name(step.status))
    upper = trace.seen_by(own_driver.above)
    expected = workload.expected(guest.info.version)
    assert upper.by(*expected) == expected, "the filter above is told before and after"
    for post in upper.by(workload.post):
        assert step.status == post.status, "the requester gets what the filter above saw"


@requires("app-hives")
def test_application_hive(own_driver: Between, probe: Probe, registry: Registry, record: Recorder) -> None:
    """The same for keys that can only be reached through their hive's handle."""
    with registry.program() as p:
        hive = p.load_app_key("app.dat")
        key = p.create_key(hive / "settings")
        steps = {
            "load": hive,
            "create": key,
            "set value": p.set_value(key, "v", "x"),
            "query value": p.query_value(key, "v"),
            "enumerate": p.enumerate_key(hive, 0),
            "close": p.close(key),
        }

    for name, step in steps.items():
        trace = probe.trace.of(step)
        found = changes(trace, own_driver.above, own_driver.below)
        tell(record, f"application hive, {name}", found)
        upper = trace.seen_by(own_driver.above)
        assert len(upper.pre) == len(upper.post), shown(upper)


def test_what_is_read_back_is_what_was_written(
    own_driver: Between, probe: Probe, registry: Registry, record: Recorder
) -> None:
    """A round trip of every value type; a difference is reported, not judged: the driver may mean it."""
    values: dict[str, RegistryValue] = {
        "text": "x", "number": 7, "wide": 1 << 40, "bytes": b"\0\1\2", "list": ["a", "b"], "empty": b"",
    }  # fmt: skip

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        reads = {}
        for name, value in values.items():
            p.set_value(key, name, value)
            reads[name] = p.query_value(key, name)

    for name, value in values.items():
        read = reads[name]
        got: object = read.value if read.succeeded else read.status_name
        same = got == (tuple(value) if isinstance(value, list) else value)
        what = f"round trip of {name}"
        if same:
            record(what, UNCHANGED)
        else:
            record(f"{CHANGED}{what}", f"{value!r} became {got!r}")
        seen = probe.trace.of(read).seen_by(own_driver.above)
        assert seen.by(Pre.QueryValueKey) == [Pre.QueryValueKey]
        for post in seen.by(Post.QueryValueKey):
            assert post.status == read.status
