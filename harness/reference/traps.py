"""The kernel's machine code: how Python enters guest code and how guest code reaches Python.

`KernelCode` lays out one region:

- a call thunk: saves the interrupted registers, loads arguments from the mailbox, calls the function,
  stores its result;
- a trap slot for every resolved export: notes the stack pointer in the mailbox and jumps to its hook
  instruction, on which a UC_HOOK_CODE calls Python, then to an epilogue that loads the result and returns.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from harness.errors import InfrastructureError
from harness.reference import mailbox as mb
from harness.reference.assembler import Code
from harness.reference.exports import Export
from harness.reference.layout import PAGE
from harness.reference.memory import EXECUTE, READ, Memory
from harness.reference.registers import BP, BX, DI, SI, SP, Registers

__all__ = ["ARGS_AREA", "SAVE_AREA", "KernelCode"]

SLOTS: Final = 2048
_SLOT_SIZE: Final = 64
_HOOK_SIZE: Final = 8
#: Bytes below the save area for arguments: x64 home space and stack arguments, x86 everything.
ARGS_AREA: Final = 0x80
#: Interrupted sp, rbx, rbp, rsi, rdi, r12-r15, xmm6-xmm15 (x64); sp, ebx, ebp, esi, edi (x86).
SAVE_AREA: Final = 0x50 + 0xA0


#: push ebp, ebx, esi, edi; mov ebp,[esp+18h]; call [esp+14h]; pop edi, esi, ebx, ebp; ret 8
_FRAME_CALL: Final = "55 53 56 57 8b6c2418 ff542414 5f 5e 5b 5d c20800"


@dataclass(frozen=True, slots=True)
class Stub:
    """A routine in machine code: its place, and the registers it keeps on the stack while it runs."""

    name: str
    start: int
    end: int
    saves: tuple[int, ...]


class KernelCode:
    """The code region of one machine. Addresses are fixed once built; slots are handed out on demand."""

    def __init__(self, memory: Memory, mailbox: int) -> None:
        self._memory = memory
        self._mailbox = mailbox
        self._wide = memory.pointer_size == 8
        base = memory.map.nt.start
        self.thunk_page = base
        self.slots = base + PAGE
        self.hooks = self.slots + SLOTS * _SLOT_SIZE
        self.epilogues = self.hooks + SLOTS * _HOOK_SIZE
        self.stubs = self.epilogues + PAGE
        self.end = self.stubs + PAGE
        memory.map_pages(base, (self.end - base) // PAGE, READ | EXECUTE)
        self._epilogue_at: dict[int, int] = {}
        self._next_epilogue = self.epilogues
        self._next_stub = self.stubs
        self.exports: list[Export] = []
        self._stubs: list[Stub] = []
        self.thunk = self.thunk_page
        thunk = self._build_thunk64() if self._wide else self._build_thunk32()
        memory.write(self.thunk_page, thunk, force=True)
        #: x86: ``frame_call(function, ebp)`` calls a filter or __finally block on its function's frame.
        self.frame_call = 0 if self._wide else self.add_stub("frame call", bytes.fromhex(_FRAME_CALL))
        #: Drops the translations listed in the mailbox and goes on at RESUME with every register kept.
        self.leave_scope = self.add_stub("leave scope", self._build_leave_scope())

    # --- the call thunk --------------------------------------------------------------------------

    def _invalidate(self, code: Code) -> None:
        """A subroutine that drops the translations listed in the mailbox; uses ax, cx, dx."""
        box = self._mailbox
        self.invalidate = code.label("invalidate")
        code.mem("8b0d", box + mb.INVALID_COUNT)  # mov ecx,[count]
        if self._wide:
            code.mem("488d15", box + mb.INVALID_LIST)  # lea rdx,[list]
        else:
            code.imm32("ba", box + mb.INVALID_LIST)  # mov edx,list
        code.label("next")
        code.op("488b44caf8" if self._wide else "8b44caf8")  # mov ax,[dx+cx*8-8]
        code.op("0f0138")  # invlpg [ax]
        code.op("ffc9" if self._wide else "49")  # dec ecx
        code.short("75", "next")
        code.mem("c705", box + mb.INVALID_COUNT, "00000000")
        code.op("c3")

    def _build_leave_scope(self) -> bytes:
        box = self._mailbox
        code = Code(self._next_stub, wide=self._wide)
        code.op("9c 50 51 52")  # pushf; push ax, cx, dx
        code.mem("833d", box + mb.INVALID_COUNT, "00")  # cmp dword [count],0
        code.short("74", "current")
        code.jump("e8", self.invalidate)
        code.label("current")
        code.op("5a 59 58 9d")
        code.mem("ff25", box + mb.RESUME)  # jmp [resume]
        return code.finish()

    def _build_thunk64(self) -> bytes:
        box = self._mailbox
        code = Code(self.thunk_page, wide=True)
        code.op("fc")  # cld
        code.op("4989e3")  # mov r11,rsp
        code.mem("488b25", box + mb.CALL_SP)  # mov rsp,[sp]
        save = ARGS_AREA
        for text in ("4c899c24", "48899c24", "4889ac24", "4889b424", "4889bc24"):  # r11 rbx rbp rsi rdi
            code.imm32(text, save)
            save += 8
        for text in ("4c89a424", "4c89ac24", "4c89b424", "4c89bc24"):  # r12-r15
            code.imm32(text, save)
            save += 8
        save = ARGS_AREA + 0x50
        for text in ("0f11b424", "0f11bc24"):  # movups [rsp+n],xmm6-7
            code.imm32(text, save)
            save += 16
        for reg in range(8):  # xmm8-15
            code.imm32(f"440f11{0x84 | reg << 3:02x}24", save)
            save += 16
        code.mem("833d", box + mb.INVALID_COUNT, "00")  # cmp dword [count],0
        code.short("74", "current")
        code.near("e8", "invalidate")
        code.label("current")
        for text, cell in (("488b0d", 0), ("488b15", 8), ("4c8b05", 16), ("4c8b0d", 24)):
            code.mem(text, box + mb.CALL_ARGS + cell)  # mov rcx/rdx/r8/r9,[arg]
        code.op("31ed")  # xor ebp,ebp
        code.mem("ff15", box + mb.CALL_FUNCTION)  # call [function]
        self.call_return = code.here
        code.mem("488905", box + mb.DONE_RESULT)  # mov [result],rax
        code.imm32("488d8424", ARGS_AREA)  # lea rax,[rsp+args]
        code.mem("488905", box + mb.DONE_FRAME)  # mov [frame],rax
        code.op("488b6810")  # mov rbp,[rax+0x10]
        code.op("488b20")  # mov rsp,[rax]
        code.mem("c705", box + mb.DONE, "01000000")  # mov dword [done],1
        code.short("eb", "stop")
        code.align(16)
        # A block of its own: unicorn translates the block at the stopping place anew for every run.
        self.stop = code.label("stop")
        code.op("f4")  # hlt
        self._invalidate(code)
        return code.finish()

    def _build_thunk32(self) -> bytes:
        box = self._mailbox
        code = Code(self.thunk_page, wide=False)
        code.op("fc")  # cld
        code.op("89e2")  # mov edx,esp
        code.mem("8b25", box + mb.CALL_SP)  # mov esp,[sp]
        code.mem("a1", box + mb.CALL_FRAME)  # mov eax,[frame]
        code.op("8910 895804 896808 89700c 897810")  # mov [eax+0..],edx ebx ebp esi edi
        code.op("89c5")  # mov ebp,eax
        code.mem("833d", box + mb.INVALID_COUNT, "00")
        code.short("74", "current")
        code.near("e8", "invalidate")
        code.label("current")
        code.mem("8b0d", box + mb.CALL_ARGS)  # mov ecx,[arg]
        code.mem("8b15", box + mb.CALL_ARGS + 8)  # mov edx,[arg]
        code.mem("ff15", box + mb.CALL_FUNCTION)
        self.call_return = code.here
        code.mem("a3", box + mb.DONE_RESULT)  # mov [result],eax
        code.mem("8915", box + mb.DONE_HIGH)  # mov [high],edx
        code.mem("892d", box + mb.DONE_FRAME)  # mov [frame],ebp
        code.op("89e9")  # mov ecx,ebp
        code.op("8b6908")  # mov ebp,[ecx+8]
        code.op("8b21")  # mov esp,[ecx]
        code.mem("c705", box + mb.DONE, "01000000")
        code.short("eb", "stop")
        code.align(16)
        self.stop = code.label("stop")
        code.op("f4")
        self._invalidate(code)
        return code.finish()

    def restore(self, frame: int, registers: Registers) -> None:
        """Put what the call thunk saved at `frame` back into `registers`: those a call must not change."""
        if self._wide:
            saved = struct.unpack("<9Q", self._memory.read(frame, 72))
            order: tuple[int, ...] = (SP, BX, BP, SI, DI, 12, 13, 14, 15)
            vectors = self._memory.read(frame + 0x50, 160)
            registers.xmm = {
                6 + i: int.from_bytes(vectors[16 * i : 16 * i + 16], "little") for i in range(10)
            }
        else:
            saved = struct.unpack("<5I", self._memory.read(frame, 20))
            order = (SP, BX, BP, SI, DI)
        for number, value in zip(order, saved, strict=True):
            registers.general[number] = value

    # --- exports ---------------------------------------------------------------------------------

    def slot(self, export: Export) -> int:
        """Give `export` a trap slot; returns its address."""
        index = len(self.exports)
        if index >= SLOTS:
            raise InfrastructureError(f"more than {SLOTS} exports resolved on one machine")
        self.exports.append(export)
        address = self.slots + index * _SLOT_SIZE
        hook = self.hooks + index * _HOOK_SIZE
        code = Code(address, wide=self._wide)
        if self._wide:
            code.op("48894c2408 4889542410 4c89442418 4c894c2420")  # home the register arguments
            code.mem("488925", self._mailbox + mb.TRAP_SP)  # mov [sp],rsp
        else:
            code.mem("8925", self._mailbox + mb.TRAP_SP)
            code.mem("890d", self._mailbox + mb.TRAP_CX)
            code.mem("8915", self._mailbox + mb.TRAP_DX)
        code.jump("e9", hook)
        self._memory.write(address, code.finish(), force=True)
        trap = Code(hook, wide=self._wide)
        trap.jump("e9", self._epilogue(0 if self._wide else export.stack_bytes()))
        self._memory.write(hook, trap.finish(), force=True)
        return address

    def _epilogue(self, pops: int) -> int:
        known = self._epilogue_at.get(pops)
        if known is not None:
            return known
        box = self._mailbox
        code = Code(self._next_epilogue, wide=self._wide)
        code.mem("833d", box + mb.INVALID_COUNT, "00")
        code.short("74", "current")
        code.jump("e8", self.invalidate)
        code.label("current")
        if self._wide:
            code.mem("488b05", box + mb.RETURN)  # mov rax,[return]
        else:
            code.mem("a1", box + mb.RETURN)
            code.mem("8b15", box + mb.RETURN_HIGH)  # mov edx,[high]
        code.op("c2" + pops.to_bytes(2, "little").hex() if pops else "c3")
        code.align(16)
        known = self._next_epilogue
        self._memory.write(known, code.finish(), force=True)
        self._epilogue_at[pops] = known
        self._next_epilogue = code.here
        return known

    def add_stub(self, name: str, code: bytes, saves: tuple[int, ...] = ()) -> int:
        """Store the machine code of a stub; returns its address.

        `saves` are the registers it pushes, in the order they come off the stack.
        """
        address = self._next_stub
        if address + len(code) > self.end:
            raise InfrastructureError("the kernel's stub page is full")
        self._memory.write(address, code, force=True)
        self._stubs.append(Stub(name, address, address + len(code), saves))
        self._next_stub = (address + len(code) + 15) & ~15
        return address

    def stub_at(self, address: int) -> Stub | None:
        """The stub whose code contains `address`."""
        if not self.stubs <= address < self.end:
            return None
        return next((stub for stub in self._stubs if stub.start <= address < stub.end), None)

    def stub_saves(self, address: int) -> tuple[int, ...]:
        """Registers on the stack above the return address when a stub is at `address`."""
        stub = self.stub_at(address)
        return stub.saves if stub is not None else ()

    def stub_name(self, address: int) -> str:
        """The name of the stub at `address`, "" when there is none."""
        stub = self.stub_at(address)
        return stub.name if stub is not None else ""

    @property
    def next_stub(self) -> int:
        """Where `add_stub` puts the next one."""
        return self._next_stub

    @property
    def hook_range(self) -> tuple[int, int]:
        """First and last address of the hook instructions."""
        return self.hooks, self.hooks + SLOTS * _HOOK_SIZE - 1

    def export_at(self, address: int) -> Export | None:
        """The export whose slot or hook instruction contains `address`."""
        if self.slots <= address < self.hooks:
            index = (address - self.slots) // _SLOT_SIZE
        elif self.hooks <= address < self.epilogues:
            index = (address - self.hooks) // _HOOK_SIZE
        else:
            return None
        return self.exports[index] if index < len(self.exports) else None

    def is_slot(self, address: int) -> bool:
        """Whether `address` is the entry point of an export. No return address is: a slot calls nothing."""
        return self.slots <= address < self.hooks and (address - self.slots) % _SLOT_SIZE == 0

    def slot_of(self, hook: int) -> int:
        """The entry point of the slot whose hook instruction is at `hook`."""
        return self.slots + (hook - self.hooks) // _HOOK_SIZE * _SLOT_SIZE
