"""Killed at whatever moment, with or without its guard, a harness leaves nothing for good."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.machine.keep.clean import find_leftovers, remove
from harness.machine.keep.processes import start_time
from tests.machine.station import (
    Station,
    guard_of,
    kill,
    kill_at_random,
    new_station,
    read_until,
    wait_until_gone,
)

_SECONDS = 300.0
#: `make soak` kills fifty.
_KILLS = 6


@pytest.fixture
def station(tiny_kernel: Path, tmp_path: Path) -> Iterator[Station]:
    with new_station(tiny_kernel, tmp_path / "disk.raw") as station:
        yield station


@pytest.mark.parametrize("moment", ["booted", "template", "answer"])
def test_the_guard_leaves_nothing(station: Station, moment: str) -> None:
    tpm = ("tpm",) if shutil.which("swtpm") else ()
    process = station.start(moment, *tpm)
    guard = guard_of(process)
    read_until(process, moment)
    assert station.processes() != []
    kill(process)
    wait_until_gone(guard)
    remove(found := find_leftovers(station.places))
    assert found == ()  # the guard was enough
    station.nothing_left()


@pytest.mark.parametrize("moment", ["booted", "answer"])
def test_without_its_guard_cleaning_finds_all(station: Station, moment: str) -> None:
    tpm = ("tpm",) if shutil.which("swtpm") else ()
    process = station.start(moment, *tpm)
    guard = guard_of(process)
    read_until(process, moment)
    os.kill(guard, signal.SIGKILL)
    kill(process)
    assert find_leftovers(station.places) != ()
    assert station.processes() != []  # its machines run on
    remove(find_leftovers(station.places))
    station.nothing_left()


def test_killed_at_random_moments(station: Station) -> None:
    assert len(list(kill_at_random(station, _KILLS, random.randrange(1 << 32)))) == _KILLS


def test_the_next_start_removes_what_is_left_and_works(station: Station) -> None:
    process = station.start("answer")
    guard = guard_of(process)
    read_until(process, "answer")
    os.kill(guard, signal.SIGKILL)
    kill(process)
    left = station.processes()
    assert left != []

    following = station.start()
    guard = guard_of(following)
    read_until(following, "answer")
    assert set(left).isdisjoint(station.processes())
    kill(following)
    wait_until_gone(guard)
    station.nothing_left()


def test_a_polite_end_leaves_nothing(station: Station) -> None:
    process = station.start()
    guard = guard_of(process)
    read_until(process, "answer")
    process.send_signal(signal.SIGINT)
    process.wait(_SECONDS)
    assert process.stdout is not None
    process.stdout.close()
    assert start_time(guard) is None
    station.nothing_left()
