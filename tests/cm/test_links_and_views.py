"""Symbolic links and the 32-bit view."""

from typing import Any

import pytest

from harness.reference.cm.key import Key
from harness.reference.cm.manager import Caller
from harness.reference.cm.tokens import ADMINISTRATOR
from harness.registry.access import KEY_READ, KEY_WOW64_32KEY, KEY_WOW64_64KEY, ObjectAttributes
from harness.registry.options import KeyOptions
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType
from harness.registry.version import VISTA_SP2, WIN11_24H2

LINK = KeyOptions.CREATE_LINK | KeyOptions.VOLATILE
WOW64 = Caller(ADMINISTRATOR, wow64=True)


def link(machine: Any, name: str, target: str) -> Key:
    key: Key = machine.create(name, start=machine.test, options=LINK)
    status = machine.cm.set_value(key, "SymbolicLinkValue", ValueType.LINK, target.encode("utf-16-le"))
    assert status == NTSTATUS.SUCCESS
    return key


def test_a_link_gives_the_path_to_restart_with(machine: Any) -> None:
    link(machine, "link", r"\REGISTRY\MACHINE\SYSTEM\Select")
    result = machine.parse("link", start=machine.test, follow=False)
    assert (result.status, result.reparse) == (NTSTATUS.REPARSE, r"\REGISTRY\MACHINE\SYSTEM\Select")
    assert result.key is None
    result = machine.parse(r"link\a\b", start=machine.test, follow=False)
    assert result.reparse == r"\REGISTRY\MACHINE\SYSTEM\Select\a\b"
    assert machine.parse("link", start=machine.test).key.name == "Select"


def test_current_control_set(machine: Any) -> None:
    result = machine.parse(r"MACHINE\SYSTEM\CurrentControlSet\Services", follow=False)
    assert result.reparse == r"\REGISTRY\MACHINE\SYSTEM\ControlSet001\Services"


@pytest.mark.parametrize(
    "how", [{"options": KeyOptions.OPEN_LINK}, {"attributes": ObjectAttributes.OPENLINK}]
)
def test_open_link_opens_the_link_itself(machine: Any, how: dict[str, int]) -> None:
    key = link(machine, "link", r"\REGISTRY\MACHINE\SYSTEM\Select")
    assert machine.parse("link", start=machine.test, **how).key is key
    # Only as the last component.
    assert machine.parse(r"link\x", start=machine.test, follow=False, **how).status == NTSTATUS.REPARSE


def test_creating_below_a_link_creates_below_its_target(machine: Any) -> None:
    target = machine.create("target", start=machine.test)
    link(machine, "link", machine.cm.path_of(target))
    key = machine.create(r"link\new", start=machine.test)
    assert key.parent is target


def test_chains_and_loops(machine: Any) -> None:
    link(machine, "c", r"\REGISTRY\MACHINE\SYSTEM\Select")
    link(machine, "b", r"\REGISTRY\MACHINE\Software\Test\c")
    link(machine, "a", r"\REGISTRY\MACHINE\Software\Test\b")
    assert machine.parse("a", start=machine.test).key.name == "Select"
    link(machine, "loop", r"\REGISTRY\MACHINE\Software\Test\loop")
    assert machine.parse("loop", start=machine.test).status == NTSTATUS.REPARSE  # the test stops restarting


def test_dangling_and_broken_links(machine: Any) -> None:
    link(machine, "dangling", r"\REGISTRY\MACHINE\Software\Nowhere")
    assert machine.status("dangling", start=machine.test) == NTSTATUS.OBJECT_NAME_NOT_FOUND
    machine.create("empty", start=machine.test, options=LINK)
    assert machine.status("empty", start=machine.test) == NTSTATUS.OBJECT_NAME_NOT_FOUND
    link(machine, "relative", r"MACHINE\SYSTEM")
    assert machine.status("relative", start=machine.test) == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_a_link_takes_its_target_and_nothing_else(machine: Any) -> None:
    key = link(machine, "link", r"\REGISTRY\MACHINE\SYSTEM\Select")
    assert machine.cm.set_value(key, "other", ValueType.SZ, b"") == NTSTATUS.ACCESS_DENIED
    assert machine.cm.set_value(key, "SymbolicLinkValue", ValueType.SZ, b"") == NTSTATUS.ACCESS_DENIED
    # An ordinary key may have a value of that name; it is not a link for that.
    assert machine.cm.set_value(machine.test, "SymbolicLinkValue", ValueType.LINK, b"") == NTSTATUS.SUCCESS
    assert machine.parse(r"MACHINE\Software\Test").key is machine.test


def test_links_reach_no_application_hive(machine: Any) -> None:
    loaded = machine.load_app()
    link(machine, "link", machine.cm.path_of(loaded.root))
    assert machine.status("link", start=machine.test) == NTSTATUS.ACCESS_DENIED


# -- the 32-bit view --------------------------------------------------------------------------------------

NODE = r"\REGISTRY\MACHINE\SOFTWARE\Wow6432Node"


def place(machine: Any, name: str, *, caller: Caller = WOW64, access: int = KEY_READ, **more: Any) -> str:
    result = machine.parse(name, caller=caller, access=access, create=True, **more)
    assert result.key is not None, hex(result.status)
    path: str = machine.cm.path_of(result.key)
    return path


def test_software_is_redirected(machine: Any, admin: Caller) -> None:
    assert place(machine, r"MACHINE\Software\App") == NODE + r"\App"
    assert place(machine, r"MACHINE\Software") == NODE
    assert place(machine, r"MACHINE\Software\App2", caller=admin, access=KEY_READ | KEY_WOW64_32KEY) == (
        NODE + r"\App2"
    )
    assert place(machine, r"MACHINE\Software\App3", access=KEY_READ | KEY_WOW64_64KEY) == (
        r"\REGISTRY\MACHINE\SOFTWARE\App3"
    )
    assert place(machine, r"MACHINE\SYSTEM\Select") == r"\REGISTRY\MACHINE\SYSTEM\Select"


def test_naming_the_node_is_not_redirected_twice(machine: Any) -> None:
    assert place(machine, r"MACHINE\Software\WOW6432NODE\App") == NODE + r"\App"


def test_shared_keys_are_where_they_are(machine: Any) -> None:
    assert place(machine, r"MACHINE\Software\Policies") == r"\REGISTRY\MACHINE\SOFTWARE\Policies"
    current = r"MACHINE\Software\Microsoft\Windows\CurrentVersion"
    assert place(machine, current + r"\Policies").endswith(
        r"\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies"
    )
    assert place(machine, current + r"\Run").startswith(NODE)


def test_classes(make: Any) -> None:
    new, old = make(WIN11_24H2), make(VISTA_SP2)
    classes = r"\REGISTRY\MACHINE\SOFTWARE\Classes"
    assert place(new, r"MACHINE\Software\Classes\.ext") == classes + r"\.ext"
    assert place(new, r"MACHINE\Software\Classes\CLSID\{1}") == classes + r"\Wow6432Node\CLSID\{1}"
    # Before Windows 7 all of Classes is redirected; the node has a link to where it is.
    result = old.parse(r"MACHINE\Software\Classes\.ext", caller=WOW64, follow=False, create=True)
    assert result.reparse == classes + r"\Wow6432Node\.ext"


def test_relative_names_are_redirected_by_the_whole_path(machine: Any) -> None:
    microsoft = machine.parse(r"MACHINE\Software\Microsoft").key
    below = machine.parse("Windows", start=microsoft, caller=WOW64, access=KEY_READ).key
    assert machine.cm.path_of(below) == NODE + r"\Microsoft\Windows"
    shared = place(machine, r"CurrentVersion\Policies", start=below)
    assert shared == r"\REGISTRY\MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies"


def test_both_flags(make: Any) -> None:
    both = KEY_READ | KEY_WOW64_32KEY | KEY_WOW64_64KEY
    assert make().status(r"MACHINE\Software", access=both) == NTSTATUS.INVALID_PARAMETER  # B-CRE-11
    assert make(VISTA_SP2).status(r"MACHINE\Software", access=both) == NTSTATUS.SUCCESS


def test_32_bit_windows_has_one_view(make: Any) -> None:
    machine = make(VISTA_SP2, 4)
    assert place(machine, r"MACHINE\Software\App", access=KEY_READ | KEY_WOW64_32KEY) == (
        r"\REGISTRY\MACHINE\SOFTWARE\App"
    )
