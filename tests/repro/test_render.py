"""Recorded programs, filters and rules as source that records the same again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.probe import Base, Filter, InnerCall, PreviousMode, Subject, abi
from harness.registry.access import KEY_READ
from harness.registry.notify import Operation as Ops
from harness.registry.notify import Post, Pre
from harness.registry.paths import RegistryPath
from harness.registry.status import NTSTATUS
from harness.repro.forms import FORMS
from harness.repro.literal import Imports
from harness.repro.names import Names
from harness.repro.render_program import ProgramSource
from harness.repro.render_rules import RuleSource
from harness.repro.scenario import RunProgram, Slotted
from harness.workload import Opcode, ProgramBuilder, Registry, TypedValue, encode_program

ROOT = r"\REGISTRY\MACHINE\Software\RegFilterHarness\1-2-abcdef"


class Nobody:
    """A guest that is never asked."""

    def run(self, program: Any) -> Any:
        raise AssertionError("nothing runs here")


def registry() -> Registry:
    made = Registry(Nobody(), name="1-2-abcdef")
    made._ready = True
    return made


def builder() -> ProgramBuilder:
    return registry().program()


def lines_of(p: ProgramBuilder, names: dict[int, str] | None = None) -> tuple[list[str], Imports]:
    imports = Imports()
    action = RunProgram(
        0, tuple(Slotted(index, step.operation) for index, step in enumerate(p.steps)), p.build().handle_count
    )
    source = ProgramSource(action, ROOT, names or {}, {}, Names({"p"}), imports)
    return list(source.lines(lambda each: None)), imports


def again(lines: list[str], imports: Imports) -> ProgramBuilder:
    p = builder()
    namespace: dict[str, Any] = {"p": p}
    exec("\n".join([*imports.lines(), *lines]), namespace)
    return p


def keys(p: ProgramBuilder) -> None:
    key = p.create_key(p.test_root / "app", class_name="class", options=1, title_index=3)
    below = p.open_key(key / "sub key", access=KEY_READ, attributes=0x140)
    p.open_key("rel", root=key, options=0)
    p.open_key(None, root=key)
    p.create_key(r"\REGISTRY\USER\S-1-5", sddl="D:P", null_disposition=True, name_maximum=4)
    p.open_key("\\absolute\\", root=below)
    p.rename_key(below, 'new "name"\\')
    p.query_key(key, 2, length=64)
    p.query_key(key, address=0x1000)
    p.enumerate_key(key, 3)
    p.enumerate_keys(key, 2)
    p.set_information_key(key, 0, bytes(8), data_size=9)
    p.flush_key(key)
    p.delete_key(below)
    p.close(below)


def values(p: ProgramBuilder) -> None:
    key = p.create_key(p.test_root / "app")
    listed: list[Any] = ["text", 'quo"te', "\ud800lone", 7, 1 << 40, b"\0\xff", ["a", "b"], [], "", None, b""]
    for value in listed:
        p.set_value(key, "v", value)
    p.set_value(key, None, "%PATH%", type=2)
    p.set_value(key, "odd", TypedValue(1, b"abc"))
    p.set_value(key, "link", r"\REGISTRY\MACHINE", type=6)
    p.set_value(key, "big", 5, type=5)
    p.set_value(key, "lies", b"1234", data_size=99, title_index=1, name_maximum=2)
    p.set_value(key, "pointer", b"x", address=0xFFFF_8000_0000_0000)
    p.set_value(key, "none", TypedValue(99, None))
    p.query_value(key, "v", 1, length=0)
    p.query_value(key, None)
    p.enumerate_value(key, 0)
    p.query_multiple(key, ["a", "b"], null_required=True)
    p.delete_value(key, "v")
    p.query_security(key, 4)
    p.set_security(key, 4, security=b"\1\2")
    p.query_object_name(key)
    p.query_object(key)


def hives(p: ProgramBuilder) -> None:
    hive = p.load_app_key("app.dat", exclusive=True, access=KEY_READ)
    p.load_app_key(r"C:\other\app.dat", name="{x}")
    key = p.create_key(hive / "in it")
    event = p.create_event()
    p.load_key(p.test_root / "m", "m.dat")
    p.load_key(p.test_root / "m2", "m.dat", flags=8)
    p.load_key(p.test_root / "m3", "m.dat", event=event, trust=key, access=KEY_READ, flags=0x10)
    p.unload_key(p.test_root / "m", flags=1)
    p.unload_key(p.test_root / "m2", event=event)
    p.force_unload(p.test_root / "m3")
    p.save_key(key, "saved.dat", format=2)
    p.save_merged(key, hive, "merged.dat")
    p.restore_key(key, "saved.dat", flags=8)
    p.replace_key(key, "new.dat", "old.dat")
    p.delete_file("saved.dat")


def others(p: ProgramBuilder) -> None:
    transaction = p.create_transaction()
    key = p.create_key(p.test_root / "t", transaction=transaction)
    p.open_key(p.test_root / "t", transaction=transaction, options=0)
    p.commit(transaction)
    p.rollback(transaction)
    event = p.create_event()
    p.notify_change_key(key, event, 4)
    p.mark("here")
    p.mark()
    bad = p.null_handle()
    p.close(bad)
    p.device_control(r"\\.\Other", 0x222000, bytes(16), output=8, handles={8: key})
    with p.on(process="second"):
        theirs = p.duplicate_handle(key, target_process="second", access=1)
        p.set_value(theirs, "a", 1)
    with p.on(thread=3):
        p.query_value(key, "a")
        p.wait_for(p.query_value(key, "a"))
    with p.on(thread=2, background=True):
        p.set_value(key, "slow", 1)
    with p.on(process="third", background=True):
        p.delete_value(theirs, "slow")
    p.terminate_process("second")


def memory(p: ProgramBuilder) -> None:
    key = p.create_key(p.test_root / "app")
    first, other = p.allocate_memory(4096, data=b"text"), p.allocate_memory(8)
    p.set_value(key, "v", b"1234", buffer=first)
    p.query_value(key, "v", 1, buffer=other, length=8)
    p.enumerate_value(key, 0, buffer=other)
    p.query_multiple(key, ["v"], buffer=first)
    p.write_memory(other, b"\0\xff", offset=3)
    p.query_key(key, buffer=other)
    p.free_memory(first)


def threads(p: ProgramBuilder) -> None:
    event = p.create_event()
    with p.on(thread=1):
        p.impersonate()
        p.wait(event)
        p.wait(event, milliseconds=5)
        p.wait(event, milliseconds=None)
        p.revert()
    p.set_event(event)
    for end in (p.commit_registry_transaction, p.rollback_registry_transaction):
        transaction = p.create_registry_transaction()
        p.create_key(p.test_root / "app", transaction=transaction)
        end(transaction)


def win32(p: ProgramBuilder) -> None:
    w = p.win32
    key = w.create_key(p.test_root / "app", class_name="c")
    below = w.open_key("sub", root=key, access=KEY_READ)
    w.open_key(r"\REGISTRY\USER\S-1")
    w.set_value(key, "v", ["a"])
    w.query_value(key, "v")
    w.get_value(key, None, subkey="sub", flags=2)
    w.enumerate_key(key, 1)
    w.enumerate_value(key, 1, length=8)
    w.query_key(key)
    w.delete_value(key, "v")
    w.delete_key(p.test_root / "app", access=0x100)
    w.rename_key(key, "new", subkey="sub")
    w.flush_key(below)
    transaction = p.create_transaction()
    w.create_key(p.test_root / "app", transaction=transaction)
    w.open_key(p.test_root / "app", transaction=transaction)
    w.delete_key(p.test_root / "app", transaction=transaction)
    w.copy_tree(key, below, subkey="sub")
    w.delete_tree(key)
    w.get_security(key, 4, length=16)
    w.set_security(key, 4, sddl="D:")
    w.query_multiple(key, ["v", "w"])
    w.notify_change_key(key, p.create_event(), changes=4)
    w.replace_key(key, "a.dat", "old.dat", subkey="sub")
    w.load_app_key("a.dat", exclusive=True)
    w.load_key(r"\REGISTRY\MACHINE\m", "a.dat")
    w.unload_key(r"\REGISTRY\MACHINE\m")
    w.save_key(key, "s.dat", format=1)
    w.restore_key(key, "s.dat", flags=8)
    w.close_key(key)


PROGRAMS = (keys, values, hives, others, memory, threads, win32)


@pytest.mark.parametrize("record", PROGRAMS, ids=lambda each: each.__name__)
def test_a_program_comes_back_from_its_source_byte_for_byte(record: Callable[[ProgramBuilder], None]) -> None:
    p = builder()
    record(p)
    lines, imports = lines_of(p)
    assert encode_program(again(lines, imports).build()) == encode_program(p.build())
    assert ROOT not in "\n".join(lines)


def test_every_operation_has_a_form_and_is_tried_here() -> None:
    assert set(FORMS) == set(Opcode)
    used = set()
    for record in PROGRAMS:
        p = builder()
        record(p)
        used |= {step.operation.opcode for step in p.steps}
        # `record` is for what no method says, and none of these needs it.
        plain = [line for line in lines_of(p)[0] if "p.record(" in line]
        assert plain == []
    assert used == set(Opcode)


def test_what_no_method_says_is_written_by_its_fields() -> None:
    p = builder()
    key = p.create_key(p.test_root / "app")
    p.record(Opcode.LOAD_KEY, name="x", file="C:\\h", form=3, out=p.new_slot(), root=key.slot, flags=5)
    p.record(Opcode.QUERY_OBJECT_BASIC, handle=key.slot, length=8)
    lines, imports = lines_of(p)
    assert sum("p.record(" in line for line in lines) == 2
    assert encode_program(again(lines, imports).build()) == encode_program(p.build())


def test_names_that_are_asked_for_are_used_and_others_are_short() -> None:
    p = builder()
    key = p.create_key(p.test_root / "app")
    p.create_key(p.test_root / "unused")
    p.set_value(key, "secret", "x")
    lines, _ = lines_of(p, {2: "write"})
    assert lines == [
        'key = p.create_key(p.test_root / "app")',
        'p.create_key(p.test_root / "unused")',
        'write = p.set_value(key, "secret", "x")',
    ]


# -- rules ------------------------------------------------------------------------------------------------


class Taking:
    """A probe that keeps the rules it is given."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []

    def set_rule(self, values: dict[str, Any]) -> int:
        self.taken.append(abi.record("REGPROBE_RULE").unpack(abi.record("REGPROBE_RULE").pack(**values)))
        return len(self.taken)


def a_filter(probe: Any) -> Filter:
    return Filter(probe, 7, altitude="1", cookie=0, context=0, legacy=False, name="f")


TEST_ROOT = RegistryPath(ROOT)
RULES: dict[str, Callable[[Filter], object]] = {
    "pass": lambda f: f.on(Pre.SetValueKey).pass_(),
    "block": lambda f: f.on(Pre.SetValueKey, under=TEST_ROOT, value="secret").block(),
    "block odd": lambda f: f.on(Pre.SetValueKey, key=TEST_ROOT / "a").block(0xC0DE0001),
    "succeed": lambda f: f.on(Pre.SetValueKey).succeed(NTSTATUS.PENDING),
    "return": lambda f: f.on(Post.SetValueKey).return_(NTSTATUS.ACCESS_DENIED),
    "return at close": lambda f: f.on(Pre.KeyHandleClose).return_(NTSTATUS.ACCESS_DENIED),
    "bypass": lambda f: f.on(Pre.SetValueKey, Pre.DeleteKey).bypass(),
    "with key": lambda f: f.on(Pre.CreateKeyEx).bypass_with_key(TEST_ROOT / "t", access=None, create=True),
    "override key": lambda f: f.on(Post.OpenKeyEx).override_with_key("x", base=Base.SUBJECT, disposition=1),
    "output": lambda f: f.on(Pre.QueryValueKey, value="a").bypass_output(b"\1\2\3"),
    "redirect": lambda f: f.on(Pre.SetValueKey).redirect("elsewhere"),
    "override": lambda f: f.on(Post.SetValueKey, status=NTSTATUS.SUCCESS).override(NTSTATUS.ACCESS_DENIED),
    "raise": lambda f: f.on(Pre.SetValueKey).raise_(0xC0000005),
    "raise null": lambda f: f.on(Pre.SetValueKey).raise_(),
    "write status": lambda f: f.on(Post.SetValueKey).write_return_status(NTSTATUS.ACCESS_DENIED),
    "edit output": lambda f: f.on(Post.QueryValueKey).edit_output(b"x", 4, result_length=9),
    "edit input": lambda f: f.on(Pre.SetValueKey).edit_input(name="n", data=b"d"),
    "edit access": lambda f: f.on(Pre.OpenKeyEx).edit_input(access=KEY_READ),
    "call context": lambda f: f.on(Pre.SetValueKey, nth=2, count=3).set_call_context(0x1234),
    "context": lambda f: f.on(Post.CreateKeyEx).set_object_context(
        9, subject=Subject.OBJECT, bad_cookie=True
    ),
    "name": lambda f: f.on(Post.CreateKeyEx).fetch_name(ex=True, no_id=True, bad_flags=True),
    "transaction": lambda f: f.on(Pre.SetValueKey).fetch_transaction(at_apc_level=True),
    "open object": lambda f: f.on(Pre.SetValueKey).open_object(),
    "call": lambda f: f.on(Pre.SetValueKey).call(
        InnerCall.SET_VALUE, TEST_ROOT / "in", value="v", data=b"1", value_type=1, work_item=True, access=1
    ),
    "delay": lambda f: f.on(Ops.SET_VALUE_KEY, process=4, thread=8, previous_mode=PreviousMode.USER).delay(5),
    "undo": lambda f: f.on(Post.SetValueKey).undo(),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_comes_back_from_its_source(name: str) -> None:
    taking = Taking()
    RULES[name](a_filter(taking))
    (values,) = taking.taken
    imports = Imports()
    line = RuleSource(ROOT, imports).rule(
        "watcher", {key: value for key, value in values.items() if key not in ("abi_version", "size")}
    )
    assert line.startswith("watcher.on(")
    other = Taking()
    namespace: dict[str, Any] = {"watcher": a_filter(other), "registry": registry()}
    exec("\n".join([*imports.lines(), line]), namespace)
    assert other.taken == [values]


def test_a_rule_that_no_method_makes_is_written_as_it_is() -> None:
    taking = Taking()
    RULES["bypass"](a_filter(taking))
    values = {**taking.taken[0], "action": 3, "offset": 77}
    imports = Imports()
    line = RuleSource(ROOT, imports).rule("watcher", values)
    assert line.startswith("probe.set_rule({")
    other = Taking()
    exec("\n".join([*imports.lines(), line]), {"watcher": a_filter(other), "probe": other})
    assert other.taken == [values]
