"""Calls into the guest, exports, nesting, translation, the IRQL, the watch-dog."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path

import pytest

from harness.errors import GuestCrashed, GuestHung
from harness.guest import Arch
from harness.reference.exports import VarArgs, export
from harness.reference.faults import GuestException
from harness.reference.machine import Machine
from harness.reference.threads import Process
from harness.registry.version import WIN7, WIN10
from tests.reference.native import BOTH, Seh, code, machine, reader, writer

SEEN: list[tuple[object, ...]] = []


@export("TestEveryKind", args="ulong, ptr, uchar, long, ulonglong, ushort, longlong")
def every_kind(m: Machine, *args: int) -> int:
    SEEN.append(args)
    return -1


@export("TestFast", args="uchar, ptr, ulong", cc="fastcall")
def fast(m: Machine, a: int, b: int, c: int) -> int:
    SEEN.append((a, b, c))
    return a + b + c


@export("TestWide", args="", returns="ulonglong")
def wide(m: Machine) -> int:
    return 0x1122_3344_5566_7788


@export("TestVariadic", args="ptr, va", cc="cdecl")
def variadic(m: Machine, first: int, rest: VarArgs) -> int:
    SEEN.append((first, rest.u32(), rest.ptr(), rest.u64()))
    return 0


@export("TestCallBack", args="ptr, ptr")
def call_back(m: Machine, function: int, argument: int) -> int:
    return m.cpu.call(function, argument) + 1


@export("TestGuarded", args="ptr, ptr")
def guarded(m: Machine, function: int, argument: int) -> int:
    try:
        return m.call_guarded(function, argument)
    except GuestException as error:
        return error.code


@export("TestFree", args="ptr")
def free(m: Machine, address: int) -> None:
    m.pool.free(address)


@export("TestFails", args="")
def fails(m: Machine) -> None:
    raise ZeroDivisionError("inside an export")


@export("TestOnlyNew", args="", since=(10, 0), until=(10, 0, 20000))
def only_new(m: Machine) -> int:
    return 1


@BOTH
def test_arguments_arrive_by_kind(arch: Arch) -> None:
    with machine(arch) as m:
        SEEN.clear()
        args = [0x1_0000_0001, 0x55, 0x1FF, 0xFFFF_FFFF, 0xAABB_CCDD_0102_0304, 0x1_FFFF, (1 << 64) - 5]
        if arch is Arch.X86:  # 64-bit arguments take two slots
            low = 0xFFFF_FFFF
            args = [1, 0x55, 0x1FF, low, args[4] & low, args[4] >> 32, 0x1_FFFF, args[6] & low, args[6] >> 32]
        result = m.cpu.call(m.exports.address_of("TestEveryKind"), *args)
        assert SEEN == [(1, 0x55, 0xFF, -1, 0xAABB_CCDD_0102_0304, 0xFFFF, -5)]
        assert result == m.memory.map.address_mask


def test_fastcall_arguments_come_in_registers_on_x86() -> None:
    with machine(Arch.X86) as m:
        SEEN.clear()
        address = m.exports.address_of("TestFast")
        assert m.cpu.run(address, (9,), fast=(0x1234, 0x100)) == 0x34 + 0x100 + 9
        assert SEEN == [(0x34, 0x100, 9)]


def test_fastcall_is_nothing_special_on_x64() -> None:
    with machine(Arch.X64) as m:
        assert m.cpu.call(m.exports.address_of("TestFast"), 0x1234, 0x100, 9) == 0x34 + 0x100 + 9


def test_sixty_four_bit_results_come_in_two_registers_on_x86() -> None:
    with machine(Arch.X86) as m:
        # call TestWide; mov eax,edx; ret
        wide_at = m.exports.address_of("TestWide")
        high = code(m, "b8" + wide_at.to_bytes(4, "little").hex() + "ffd0 89d0 c3")
        assert m.cpu.call(wide_at) == 0x5566_7788
        assert m.cpu.call(high) == 0x1122_3344


@BOTH
def test_variadic_arguments_are_read_one_by_one(arch: Arch) -> None:
    with machine(arch) as m:
        SEEN.clear()
        m.cpu.call(m.exports.address_of("TestVariadic"), 1, 2, 3, *((4,) if arch is Arch.X64 else (4, 0)))
        assert SEEN == [(1, 2, 3, 4)]


@BOTH
def test_calls_nest_and_registers_survive(arch: Arch) -> None:
    with machine(arch) as m:
        inner = reader(m)
        cell = m.memory.alloc_static(16)
        m.memory.put_u32(cell, 41)
        address = m.exports.address_of("TestCallBack")
        if arch is Arch.X64:  # push rbx; sub rsp,20h; mov rbx,rdx; mov rax,export; call rax; add rax,rbx ...
            text = f"53 4883ec20 4889d3 48b8{address.to_bytes(8, 'little').hex()} ffd0 4801d8 4883c420 5b c3"
        else:
            text = f"53 8b5c240c 53 ff74240c b8{address.to_bytes(4, 'little').hex()} ffd0 01d8 5b c20800"
        outer = code(m, text)
        assert m.cpu.call(outer, inner, cell) == 42 + cell
        assert m.cpu.levels == []


@BOTH
def test_a_failed_nested_call_leaves_the_outer_code_its_registers(arch: Arch) -> None:
    with machine(arch) as m:
        inner = reader(m)
        address = m.exports.address_of("TestGuarded")
        if arch is Arch.X64:
            text = (
                f"53 4883ec20 bb07000000 48b8{address.to_bytes(8, 'little').hex()} ffd0 01d8 4883c420 5b c3"
            )
        else:
            text = (
                f"53 bb07000000 ff74240c ff74240c b8{address.to_bytes(4, 'little').hex()} ffd0 01d8 5b c20800"
            )
        outer = code(m, text)
        assert m.cpu.call(outer, inner, 0x4000) & 0xFFFF_FFFF == 0xC0000005 + 7


@BOTH
def test_nesting_without_end_uses_up_the_kernel_stack(arch: Arch) -> None:
    with machine(arch) as m:
        address = m.exports.address_of("TestCallBack")
        if arch is Arch.X64:  # self: mov rdx,rcx; jmp export  (function = argument = self)
            text = f"4889ca 48b8{address.to_bytes(8, 'little').hex()} ffe0"
        else:
            text = f"8b442404 50 50 b8{address.to_bytes(4, 'little').hex()} ffd0 c20400"
        again = code(m, text)
        with pytest.raises(GuestCrashed) as caught:
            m.cpu.call(again, again)
        assert (caught.value.bugcheck.code, caught.value.bugcheck.parameters[0]) == (0x7F, 8)


@BOTH
def test_a_freed_page_is_gone_for_the_code_that_freed_it(arch: Arch) -> None:
    with machine(arch) as m:
        address = m.exports.address_of("TestFree")
        if arch is Arch.X64:  # touches the block, frees it, touches it again
            raw = address.to_bytes(8, "little").hex()
            text = f"53 4883ec20 4889cb 8b03 48b8{raw} ffd0 8b03 4883c420 5b c3"
        else:
            raw = address.to_bytes(4, "little").hex()
            text = f"53 8b5c2408 8b03 53 b8{raw} ffd0 8b03 5b c20400"
        twice = code(m, text)
        with pytest.raises(GuestCrashed) as caught:
            m.cpu.call(twice, m.pool.alloc(100, 0))
        assert caught.value.bugcheck.code == 0xCC


@BOTH
def test_a_page_that_loses_a_right_loses_it_at_once(arch: Arch) -> None:
    with machine(arch) as m:
        write = writer(m)
        page = m.memory.map.static.end
        m.memory.map_pages(page, 1, 3)
        m.cpu.call(write, page)
        m.memory.protect(page, 1, 1)
        with pytest.raises(GuestCrashed) as caught:
            m.cpu.call(write, page)
        assert caught.value.bugcheck.code == 0xBE


@BOTH
def test_many_pages_can_go_between_two_instructions(arch: Arch) -> None:
    with machine(arch) as m:
        read = reader(m)
        blocks = [m.pool.alloc(64, 0) for _ in range(200)]
        for block in blocks:
            m.cpu.call(read, block)
        for block in blocks:
            m.pool.free(block)
        for block in blocks[::40]:
            m.crash = None
            with pytest.raises(GuestCrashed):
                m.cpu.call(read, block)


def test_a_python_error_inside_an_export_comes_out_of_the_call() -> None:
    with machine() as m, pytest.raises(ZeroDivisionError):
        m.cpu.call(m.exports.address_of("TestCallBack"), m.exports.address_of("TestFails"), 0)


def test_exports_exist_on_the_windows_that_have_them() -> None:
    with machine(version=WIN10) as new, machine(version=WIN7) as old:
        assert new.exports.address_of("TestOnlyNew")
        assert "TestOnlyNew" in new.exports
        assert old.exports.address_of("TestOnlyNew") == 0
        assert old.exports.find("ntoskrnl.exe", "TestOnlyNew") is None
        assert new.exports.find("ntkrnlpa.exe", "TestOnlyNew") is not None
        assert new.exports.find("fltmgr.sys", "TestOnlyNew") is None


# --- IRQL -------------------------------------------------------------------------------------------------


def test_cr8_is_the_irql() -> None:
    with machine(Arch.X64) as m:
        seh = Seh(m)
        m.cpu.irql = 1
        assert seh.call("read_irql") == 1
        m.cpu.irql = 0
        assert m.cpu.run(seh["write_irql"], (2,), below=m.current.stack.high) == 2
        assert m.cpu.irql == 2


@BOTH
def test_returning_at_another_irql_is_a_bugcheck(arch: Arch) -> None:
    with machine(arch) as m:

        @export("TestRaise", args="")
        def raise_irql(m: Machine) -> None:
            m.cpu.irql = 2

        address = m.exports.address_of("TestRaise")
        with pytest.raises(GuestCrashed) as caught:
            m.cpu.call(address)
        assert (caught.value.bugcheck.code, caught.value.bugcheck.parameters[:2]) == (0x4A, (address, 2))


@BOTH
def test_paged_pool_is_out_of_reach_at_dispatch_level_even_when_it_was_touched_before(arch: Arch) -> None:
    with machine(arch) as m:
        read = Seh(m)["leaf_read"]
        block = m.pool.alloc(64, 0, paged=True)
        m.cpu.call(read, block)
        m.cpu.irql = 2
        with pytest.raises(GuestCrashed) as caught:
            m.cpu.call(read, block)
        assert (caught.value.bugcheck.code, caught.value.bugcheck.parameters[:2]) == (0xD1, (block, 2))


# --- threads ----------------------------------------------------------------------------------------------


@BOTH
def test_threads_have_stacks_and_identities_of_their_own(arch: Arch) -> None:
    with machine(arch) as m:
        thread = m.new_thread(Process(0x1234, "program", address=0x77), 0x4321)
        # mov eax,esp; ret
        sp = code(m, "4889e0c3" if arch is Arch.X64 else "89e0c3")
        assert m.current.stack.low <= m.cpu.call(sp) < m.current.stack.high
        with m.running_as(thread):
            assert thread.stack.low <= m.cpu.call(sp) < thread.stack.high
        assert m.current is m.system_thread


@BOTH
def test_a_waiting_call_is_put_aside_and_taken_up_again(arch: Arch) -> None:
    class Waits(BaseException):
        pass

    with machine(arch) as m:
        kept = []

        @export("TestWait", args="ulong")
        def wait(m: Machine, value: int) -> int:
            kept.append(m.cpu.suspend(m.cpu.irql))
            raise Waits

        address = m.exports.address_of("TestWait")
        if arch is Arch.X64:  # push rbx; mov ebx,7; call; add eax,ebx
            text = (
                f"53 4883ec20 bb07000000 48b8{address.to_bytes(8, 'little').hex()} ffd0 01d8 4883c420 5b c3"
            )
        else:
            text = f"53 bb07000000 6a05 b8{address.to_bytes(4, 'little').hex()} ffd0 01d8 5b c3"
        waiting = code(m, text)
        thread = m.new_thread(Process(5, "other"), 12)
        with m.running_as(thread), pytest.raises(Waits):
            m.cpu.call(waiting, 5)
        assert m.cpu.call(reader(m), waiting) & 0xFF == 0x53  # others run in between
        with m.running_as(thread):
            assert m.cpu.resume(kept[0], 100) == 107
        assert m.cpu.levels == []


# --- the watch-dog and the end ----------------------------------------------------------------------------


@BOTH
def test_endless_code_is_ended_and_located(arch: Arch) -> None:
    with machine(arch, deadline=0.05) as m:
        seh = Seh(m)
        with pytest.raises(GuestHung) as caught:
            m.cpu.call(seh["big_frame"], seh["spin"], 0)
        assert [f.function for f in caught.value.bugcheck.stack] == ["spin", "big_frame"]
        assert caught.value.bugcheck.driver == "seh.sys"


@BOTH
def test_endless_code_at_dispatch_level_is_0x133_where_windows_watches(arch: Arch) -> None:
    with machine(arch, deadline=0.05) as m:
        loop = code(m, "ebfe")
        m.cpu.irql = 2
        with pytest.raises(GuestCrashed) as caught:
            m.cpu.call(loop)
        assert (caught.value.bugcheck.code, caught.value.bugcheck.parameters[0]) == (0x133, 1)
    with machine(arch, version=WIN7, deadline=0.05) as m:
        loop = code(m, "ebfe")
        m.cpu.irql = 2
        with pytest.raises(GuestHung):
            m.cpu.call(loop)


def test_a_dead_machine_stays_dead() -> None:
    with machine() as m:
        read = reader(m)
        with pytest.raises(GuestCrashed) as first:
            m.cpu.call(read, m.memory.map.static.end)
        with pytest.raises(GuestCrashed) as second:
            m.cpu.call(read, m.memory.map.static.start)
        assert second.value.bugcheck == first.value.bugcheck == m.crash
        assert not isinstance(second.value, GuestHung)


def test_a_hung_machine_stays_hung() -> None:
    with machine(deadline=0.05) as m:
        loop = code(m, "ebfe")
        with pytest.raises(GuestHung) as first:
            m.cpu.call(loop)
        with pytest.raises(GuestHung) as second:
            m.cpu.call(reader(m), m.memory.map.static.start)
        assert second.value.bugcheck == first.value.bugcheck


def test_closing_ends_the_watch_dog_and_frees_the_memory() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def boot() -> None:
        with machine() as m:
            m.cpu.call(reader(m), m.memory.map.static.start)
            m.pool.alloc(1 << 20, 0)

    threads = threading.active_count()
    for _ in range(5):
        boot()
    gc.collect()
    before = resident()
    for _ in range(40):
        boot()
    gc.collect()
    assert threading.active_count() == threads
    assert resident() - before < 24 << 20  # forty leaked machines would be hundreds of megabytes


def test_closing_twice_is_harmless() -> None:
    with machine() as m:
        m.close()


# --- time -------------------------------------------------------------------------------------------------


@BOTH
def test_the_performance_counter_rises_with_every_read(arch: Arch) -> None:
    with machine(arch) as m:
        reads = [m.performance_counter() for _ in range(1000)]
        assert reads == sorted(set(reads))
        m.advance_time(10_000_000)
        assert m.performance_counter() - reads[-1] >= 10_000_000


@BOTH
def test_drivers_find_time_and_version_in_kuser_shared_data(arch: Arch) -> None:
    with machine(arch, version=WIN10) as m:
        at = m.memory.map.shared_data
        read = reader(m)
        assert m.cpu.call(read, at + 0x26C) & 0xFFFF_FFFF == 10
        assert m.memory.u32(at + 0x260) == 10240
        before = m.memory.u64(at + 0x14)
        assert abs(before - (time.time_ns() // 100 + 116_444_736_000_000_000)) < 600_000_000
        m.advance_time(50_000_000)
        assert m.memory.u64(at + 0x14) - before >= 50_000_000
        assert m.memory.u32(at + 0x1C) == m.memory.u32(at + 0x18)
        assert m.memory.read(m.memory.map.user_shared_data + 0x26C, 4) == (10).to_bytes(4, "little")
