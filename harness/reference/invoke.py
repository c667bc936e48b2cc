"""Reading an export's arguments where the guest left them, and calling its Python function."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.guest import Arch
from harness.reference import mailbox as mb
from harness.reference.exports import Convention, Export, VarArgs

if TYPE_CHECKING:
    from harness.reference.levels import Level
    from harness.reference.machine import Machine

__all__ = ["Invoker", "invoker"]

#: Serves one trap: stack pointer (the return address is there) and call; returns the result, if any.
Invoker = Callable[[int, "Level"], "int | None"]


def invoker(machine: Machine, export: Export, box: int) -> Invoker:
    """The function that serves traps of `export`. `box` is the offset of the mailbox in the arena."""
    memory = machine.memory
    arena, wide = memory.arena, machine.arch is Arch.X64
    function: Callable[..., Any] = export.function
    kinds = export.args[:-1] if export.variadic else export.args
    registers = 2 if export.convention is Convention.FASTCALL and not wide else 0
    layout = struct.Struct("<" + "".join(k.x64 if wide else k.x86 for k in kinds[registers:]))
    offset, size, unpack_from = memory.pointer_size, layout.size, layout.unpack_from

    def stack_args(sp: int, level: Level) -> tuple[Any, ...]:
        stack = level.stack
        if stack.low <= sp < stack.high - size - offset:
            return unpack_from(arena, sp + offset + stack.delta)
        return layout.unpack(memory.read(sp + offset, size))

    if export.variadic:
        return lambda sp, level: function(
            machine, *stack_args(sp, level), VarArgs(machine, sp + offset + size)
        )
    if not kinds:
        return lambda _sp, _level: function(machine)
    if registers:
        masks = [kind.mask for kind in kinds[:registers]]

        def fast(sp: int, level: Level) -> int | None:
            values = struct.unpack_from("<I4xI", arena, box + mb.TRAP_CX)
            head = [value & mask for value, mask in zip(values, masks, strict=False)]
            result: int | None = function(machine, *head, *stack_args(sp, level))
            return result

        return fast
    return lambda sp, level: function(machine, *stack_args(sp, level))
