"""What is recorded before it is made is found by others, however the writer ended."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.machine.keep.ledger import Entry, EntryKind, Ledger, Owner, SessionId

MACHINE = Entry(EntryKind.MACHINE, "c1", "qemu:///system")
FILE = Entry(EntryKind.PATH, "/dev/shm/x.ram")


def test_an_id_is_its_text() -> None:
    session = SessionId.new()
    assert SessionId.parse(str(session)) == session
    assert session.running


@pytest.mark.parametrize(
    "text", ["", "x", "12-34", "12-34-56789", "12-34-zzzz", "../12-34-abcd", "-1-2-abcd"]
)
def test_other_names_are_no_ids(text: str) -> None:
    assert SessionId.parse(text) is None


def test_a_process_id_that_is_used_again_is_another_session() -> None:
    mine = SessionId.new()
    assert not replace(mine, start=mine.start - 1).running


def test_entries_are_there_until_dropped(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.entries() == ()
    ledger.add(MACHINE)
    ledger.add(FILE)
    assert Ledger(tmp_path).entries() == (MACHINE, FILE)
    ledger.drop(MACHINE)
    assert Ledger(tmp_path).entries() == (FILE,)


@pytest.mark.parametrize(
    "tail", [b'{"kind": "path", "na', b'{"kind": "path"}\n', b"\0\0\0\n", b"[]\n{}\n1\n"]
)
def test_a_damaged_end_costs_nothing_before_it(tmp_path: Path, tail: bytes) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(FILE)
    with ledger.path.open("ab") as file:
        file.write(tail)
    assert ledger.entries() == (FILE,)


def test_a_ledger_is_private(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(FILE)
    assert ledger.path.stat().st_mode & 0o077 == 0


def test_an_owner_of_this_process_is_alive(tmp_path: Path) -> None:
    Owner.this_process((tmp_path,)).write(tmp_path)
    owner = Owner.read(tmp_path)
    assert owner is not None
    assert owner.folders == (str(tmp_path),)
    assert owner.alive(SessionId.new())


def test_nobody_is_alive_after_a_boot() -> None:
    owner = replace(Owner.this_process(()), boot="another")
    assert not owner.alive(SessionId.new())


def test_who_lives_in_another_container_is_taken_for_alive() -> None:
    owner = replace(Owner.this_process(()), namespace="pid:[1]")
    assert owner.elsewhere
    assert owner.alive(SessionId(os.getpid(), 1, "0000"))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"boot": 1}', b'{"boot":"","namespace":"","folders":[1]}']
)
def test_an_owner_half_written_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "owner.json").write_bytes(content)
    assert Owner.read(tmp_path) is None
