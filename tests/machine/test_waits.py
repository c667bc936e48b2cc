"""How long processes waited for a busy host, by the kernel's own account."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from harness.machine.hypervisor.waits import waited_since, waits

SPIN = "while True: pass"
#: Far more than any host needs; only a broken account needs all of it.
EVENTUALLY = 60.0


def test_two_who_want_one_processor_wait_for_each_other() -> None:
    if not waits(os.getpid()):
        pytest.skip("this kernel keeps no account of waiting (CONFIG_SCHED_INFO)")
    processor = {min(os.sched_getaffinity(0))}
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(2)]
    try:
        for each in spinning:
            os.sched_setaffinity(each.pid, processor)
        before = waits(spinning[0].pid)
        until = time.monotonic() + EVENTUALLY
        while (waited := waited_since(before, waits(spinning[0].pid))) < 0.2 and time.monotonic() < until:
            pass
        assert waited >= 0.2
    finally:
        for each in spinning:
            each.kill()
            each.wait()


def test_who_is_gone_or_unknown_has_no_account() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert waits(gone.pid) == waits(None) == {}


def test_the_longest_wait_of_one_thread_counts() -> None:
    assert waited_since({1: 5.0, 2: 7.0}, {1: 6.0, 2: 10.0, 3: 2.0}) == 3.0
    assert waited_since({1: 5.0}, {2: 4.0}) == 4.0
    assert waited_since({1: 5.0}, {}) == 0.0
