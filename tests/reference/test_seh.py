"""Exceptions: handlers, filters, termination handlers, and what becomes of exceptions nobody takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.errors import GuestCrashed
from harness.guest import Arch
from harness.reference.faults import GuestException
from harness.reference.machine import Machine
from harness.reference.threads import Process, Thread
from tests.reference.native import Seh, code, machine

ACCESS_VIOLATION = 0xC0000005
NOWHERE = 0x5000  # a user address that nothing is at


@pytest.fixture(params=list(Arch), ids=str)
def seh(request: pytest.FixtureRequest) -> Iterator[Seh]:
    with machine(request.param) as m:
        yield Seh(m)


def crash(m: Machine, function: int, *args: int) -> GuestCrashed:
    with pytest.raises(GuestCrashed) as caught:
        m.cpu.call(function, *args)
    return caught.value


def test_a_constant_filter_takes_an_access_violation(seh: Seh) -> None:
    assert seh.call("guarded_read", NOWHERE, seh.out) == 0xBAD
    assert seh.m.memory.u32(seh.out) == ACCESS_VIOLATION


def test_code_without_a_fault_does_not_notice_its_try_block(seh: Seh) -> None:
    seh.m.memory.put_u32(seh.out, 99)
    assert seh.call("guarded_read", seh.out, seh.out + 8) == 99
    assert seh.m.memory.u32(seh.out + 8) == 0


@pytest.mark.parametrize(
    ("function", "argument", "status"),
    [
        ("two_byte_read", NOWHERE, ACCESS_VIOLATION),
        ("nested_read", NOWHERE, ACCESS_VIOLATION),
        ("raise_status", 0xC0000123, 0xC0000123),
        ("divide", 0, 0xC0000094),
        ("undefined", 0, 0xC000001D),
        ("breakpoint", 0, 0x80000003),
    ],
)
def test_a_filter_function_sees_the_code_and_takes_it(
    seh: Seh, function: str, argument: int, status: int
) -> None:
    assert seh.filtered(1, function, argument) == 0xCA7C4
    assert (seh.seen_code, seh.filter_calls) == (status, 1)


def test_a_filter_that_declines_leaves_the_exception_to_the_caller(seh: Seh) -> None:
    with pytest.raises(GuestException) as caught:
        seh.filtered(0, "two_byte_read", NOWHERE)
    assert caught.value.code == ACCESS_VIOLATION
    assert caught.value.record.parameters == (0, NOWHERE)
    assert seh.filter_calls == 1


def test_a_filter_can_mend_the_context_and_go_on(seh: Seh) -> None:
    assert seh.filtered(-1, "two_byte_read", NOWHERE) == 0x77


def test_a_termination_handler_runs_when_an_outer_handler_takes_the_exception(seh: Seh) -> None:
    m = seh.m
    size = m.memory.pointer_size
    context = m.memory.alloc_static(3 * size)
    for i, value in enumerate((seh["leaf_read"], NOWHERE, seh.out)):
        m.memory.put_ptr(context + i * size, value)
    assert seh.filtered(1, "finally_inside", context) == 0xCA7C4
    assert seh.finally_calls == 0x101


def test_a_termination_handler_runs_once_after_a_normal_end(seh: Seh) -> None:
    assert seh.call("with_finally", seh["divide"], 1, seh.out) == 5
    assert seh.finally_calls == 1


def test_a_finally_alone_takes_nothing_and_is_not_run_for_an_unhandled_exception(seh: Seh) -> None:
    with pytest.raises(GuestException):
        seh.call("with_finally", seh["leaf_read"], NOWHERE, seh.out)
    assert seh.finally_calls == 0


def test_registers_of_the_interrupted_code_survive_an_exception_in_a_nested_call(seh: Seh) -> None:
    """The machine goes on after a guarded call failed, and the next call works as before."""
    for _ in range(3):
        with pytest.raises(GuestException):
            seh.call("big_frame", seh["leaf_read"], NOWHERE)
        assert seh.call("guarded_read", NOWHERE, seh.out) == 0xBAD


def test_the_stack_of_an_unhandled_exception_names_functions_and_lines(seh: Seh) -> None:
    error = crash(seh.m, seh["nested_read"], NOWHERE)
    names = [frame.function for frame in error.bugcheck.stack]
    assert names[:2] == ["leaf_read", "nested_read"]
    assert error.bugcheck.stack[1].source.startswith("seh.c:")
    assert error.bugcheck.driver == "seh.sys"


def test_the_stack_goes_through_large_frames_and_saved_registers(seh: Seh) -> None:
    error = crash(seh.m, seh["big_frame"], seh["nested_read"], NOWHERE)
    assert [f.function for f in error.bugcheck.stack] == ["leaf_read", "nested_read", "big_frame"]


def test_an_exception_raised_by_an_export_has_the_export_on_its_stack(seh: Seh) -> None:
    error = crash(seh.m, seh["raise_status"], 0xC0000123)
    assert str(error.bugcheck.stack[0]).startswith("nt!ExRaiseStatus")
    assert error.bugcheck.stack[1].function == "raise_status"
    assert error.bugcheck.parameters[0] == 0xC0000123


def test_unhandled_in_a_system_thread_is_0x7e(seh: Seh) -> None:
    assert crash(seh.m, seh["leaf_read"], NOWHERE).bugcheck.code == 0x7E


def test_unhandled_on_behalf_of_a_program_depends_on_the_architecture(seh: Seh) -> None:
    with seh.m.running_as(user_thread(seh.m)):
        found = crash(seh.m, seh["leaf_read"], NOWHERE).bugcheck
    assert found.code == (0x3B if seh.m.arch is Arch.X64 else 0x8E)
    assert found.parameters[:2] == (ACCESS_VIOLATION, found.stack[0].address)


def test_unhandled_at_dispatch_level_is_0x1e(seh: Seh) -> None:
    seh.m.cpu.irql = 2
    assert crash(seh.m, seh["divide"], 0).bugcheck.code == 0x1E


def test_a_page_fault_at_dispatch_level_is_not_dispatched(seh: Seh) -> None:
    seh.m.cpu.irql = 2
    found = crash(seh.m, seh["guarded_read"], NOWHERE, seh.out).bugcheck
    assert (found.code, found.parameters[:3]) == (0xD1, (NOWHERE, 2, 0))


def test_an_invalid_kernel_address_is_not_dispatched_even_inside_try(seh: Seh) -> None:
    """Page "Bug Check 0x50": such a fault cannot be protected by try-except."""
    address = seh.m.memory.map.static.end + 0x123
    found = crash(seh.m, seh["guarded_read"], address, seh.out).bugcheck
    assert (found.code, found.parameters[0]) == (0x50, address)


def test_writing_a_constant_is_0xbe(seh: Seh) -> None:
    found = crash(seh.m, seh["write_constant"], 5).bugcheck
    assert found.code == 0xBE
    section = seh.driver.section_at(found.parameters[0])
    assert section is not None
    assert section.name == ".rdata"


def test_executing_data_is_0xfc(seh: Seh) -> None:
    found = crash(seh.m, seh["big_frame"], seh.out, 0).bugcheck
    assert (found.code, found.parameters[0]) == (0xFC, seh.out)
    assert found.stack[1].function == "big_frame"


def test_a_jump_to_nowhere_is_an_access_violation_with_its_caller_on_the_stack(seh: Seh) -> None:
    error = crash(seh.m, seh["big_frame"], 0x1000, 0)
    assert error.bugcheck.parameters[:2] == (ACCESS_VIOLATION, 0x1000)
    assert error.bugcheck.stack[1].function == "big_frame"


def test_endless_recursion_is_a_double_fault(seh: Seh) -> None:
    found = crash(seh.m, seh["overflow"], 0).bugcheck
    assert (found.code, found.parameters[0]) == (0x7F, 8)
    assert {frame.function for frame in found.stack} == {"overflow"}


def test_a_fast_fail_is_0x139(seh: Seh) -> None:
    fail = code(seh.m, "b903000000cd29c3" if seh.m.arch is Arch.X64 else "b903000000cd29c20400")
    found = crash(seh.m, fail, 0).bugcheck
    assert (found.code, found.parameters[0]) == (0x139, 3)


def test_an_own_x86_handler_may_unwind_with_rtlunwind_and_jump_into_its_function() -> None:
    with machine(Arch.X86) as m:
        seh = Seh(m)
        for _ in range(3):
            assert seh.call("own_unwind", seh["leaf_read"], NOWHERE, seh.out) == 0xCA7C4
        assert seh.call("own_unwind", seh["divide"], 1, seh.out) == 5


# --- user memory --------------------------------------------------------------------------------------


def user_thread(m: Machine) -> Thread:
    return m.new_thread(Process(100, "program"), 104, previous_mode=1)


def test_user_memory_may_be_read_inside_try(seh: Seh) -> None:
    address = seh.m.memory.alloc_user(16)
    seh.m.memory.put_u32(address, 0x777)
    assert seh.call("copy_in_try", address) == 0x777
    assert seh.filtered(1, "nested_read", address) == 0x778


def test_user_memory_read_outside_try_counts_as_freed(seh: Seh) -> None:
    address = seh.m.memory.alloc_user(16)
    error = crash(seh.m, seh["nested_read"], address)
    assert error.bugcheck.parameters[0] == ACCESS_VIOLATION
    assert "outside of try/except" in error.bugcheck.reason


def test_a_protected_read_does_not_open_the_page_for_the_next_call(seh: Seh) -> None:
    address = seh.m.memory.alloc_user(16)
    assert seh.call("copy_in_try", address) == 0
    crash(seh.m, seh["leaf_read"], address)


def test_a_termination_handler_is_no_protection(seh: Seh) -> None:
    address = seh.m.memory.alloc_user(16)
    with pytest.raises(GuestException):
        seh.call("with_finally", seh["leaf_read"], address, seh.out)


def test_user_memory_that_really_went_is_an_exception(seh: Seh) -> None:
    address = seh.m.memory.map_user(100)
    assert seh.call("copy_in_try", address) == 0
    seh.m.memory.unmap_user(address, 100)
    assert seh.call("copy_in_try", address) == ACCESS_VIOLATION


def test_reads_after_the_end_of_the_try_block_are_caught_in_the_same_call() -> None:
    """On x64 leaving the scope takes the page away; x86 scopes end unseen, the next export or return does."""
    with machine(Arch.X64) as m:
        seh = Seh(m)
        address = m.memory.alloc_user(16)
        # sub rsp,28h; mov [rsp+20h],rcx; mov rdx,out; mov rax,guarded_read; call rax; mov rcx,[rsp+20h];
        # mov eax,[rcx]; add rsp,28h; ret
        out, guarded = (value.to_bytes(8, "little").hex() for value in (seh.out, seh["guarded_read"]))
        text = f"4883ec28 48894c2420 48ba{out} 48b8{guarded} ffd0 488b4c2420 8b01 4883c428 c3"
        assert crash(m, code(m, text), address).bugcheck.parameters[0] == ACCESS_VIOLATION


def test_a_try_block_below_another_call_puts_the_flush_off(seh: Seh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is watched from now on, but code that calls further out come back to must stay as it is."""
    m = seh.m
    depths: list[int] = []
    flush = type(m.cpu.engine).flush_code
    monkeypatch.setattr(
        type(m.cpu.engine), "flush_code", lambda self: (depths.append(len(m.cpu.levels)), flush(self))
    )
    user = m.memory.alloc_user(16)
    m.memory.write(user, bytes(16))
    search = m.exports.address_of("bsearch")
    for _again in range(2):
        # bsearch(key, array, count, size, compare) calls guarded_read(key, element), which finds a 0: equal.
        assert m.cpu.call(search, user, seh.out, 1, 8, seh["guarded_read"]) == seh.out
    assert max(depths, default=0) <= 1
    assert bool(depths) is (m.arch is Arch.X64), "x86 doesn't know where a try block ends"
