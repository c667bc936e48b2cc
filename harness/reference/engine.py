"""The unicorn engine behind the processor, by way of its C interface.

The Python binding's own methods cost several microseconds each; what runs for every call into the guest
goes to the library directly. Nothing outside this module and `registers` touches unicorn.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import unicorn
import unicorn.x86_const as x86
from unicorn import unicorn_const as uc
from unicorn.unicorn_py3 import unicorn as binding

from harness.errors import InfrastructureError
from harness.guest import Arch
from harness.reference.memory import Memory
from harness.reference.registers import RegisterFile

__all__ = ["ERR_EXCEPTION", "ERR_INVALID_INSTRUCTION", "ERR_OK", "Engine"]

ERR_OK: Final = 0
ERR_INVALID_INSTRUCTION: Final = uc.UC_ERR_INSN_INVALID
ERR_EXCEPTION: Final = uc.UC_ERR_EXCEPTION

#: uc_ctl requests: number of arguments << 26 | direction (write) << 30.
_FLUSH_TLB: Final = uc.UC_CTL_TLB_FLUSH | 1 << 30
_FLUSH_CODE: Final = uc.UC_CTL_TB_FLUSH | 1 << 30
#: Right that an access needs (`memory.READ` ...), and its name.
_NEEDS: Final = {uc.UC_MEM_READ: 1, uc.UC_MEM_WRITE: 2, uc.UC_MEM_FETCH: 4}

_lib: Any = binding.uclib
_Hook = Callable[[Any, int, int, Any], None]
_CODE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
_INTERRUPT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
_INVALID = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)


# The entry to fill in is { uint64_t paddr; int perms; }, 16 bytes with its padding.
_FILL = ctypes.CFUNCTYPE(
    ctypes.c_bool,
    ctypes.c_void_p,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_uint64),
    ctypes.c_void_p,
)


class Engine:
    """One unicorn engine over a machine's memory.

    `translate(page, right)` answers TLB misses: physical address | rights of a virtual page number, or 0 to
    refuse it the right it needs, upon which `start` ends with `ERR_EXCEPTION` and the instruction pointer
    at the culprit.
    """

    def __init__(self, arch: Arch, memory: Memory, translate: Callable[[int, int], int]) -> None:
        self.arch = arch
        self._uc: Any = unicorn.Uc(uc.UC_ARCH_X86, uc.UC_MODE_64 if arch is Arch.X64 else uc.UC_MODE_32)
        self._handle = self._uc._uch
        self._uc.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)
        self._memory = memory
        self._pin: Any = ctypes.c_char.from_buffer(memory.arena)
        self._uc.mem_map_ptr(0, memory.size, uc.UC_PROT_ALL, ctypes.addressof(self._pin))
        self._hooks: list[Any] = []
        self.registers = RegisterFile(_lib, self._handle, arch)
        #: ``start(ip, stop, 0, 0)`` runs from `ip` until `stop` is reached and returns unicorn's error
        #: number; it nests up to 64 deep.
        self.start: Callable[[int, int, int, int], int] = partial(_lib.uc_emu_start, self._handle)
        self._ip = ctypes.c_uint64()
        self._ip_at = ctypes.byref(self._ip)
        self._ip_id = ctypes.c_int(x86.UC_X86_REG_RIP if arch is Arch.X64 else x86.UC_X86_REG_EIP)
        self._flush_tlb = ctypes.c_int(_FLUSH_TLB)
        self._flush_code = ctypes.c_int(_FLUSH_CODE)
        self._install_fill(translate)

    def _install_fill(self, translate: Callable[[int, int], int]) -> None:
        needs = _NEEDS

        def fill(_uc: Any, address: int, access: int, entry: Any, _data: Any) -> bool:
            found = translate(address >> 12, needs[access])
            if not found:
                return False
            entry[0] = found & ~0xFFF
            entry[1] = found & 7
            return True

        self._add(uc.UC_HOOK_TLB_FILL, _FILL(fill))

    def _add(self, kind: int, callback: Any, begin: int = 1, end: int = 0) -> None:
        handle = ctypes.c_size_t()
        status = _lib.uc_hook_add(
            self._handle,
            ctypes.byref(handle),
            ctypes.c_int(kind),
            ctypes.cast(callback, ctypes.c_void_p),
            None,
            ctypes.c_uint64(begin),
            ctypes.c_uint64(end),
        )
        if status != ERR_OK:
            raise InfrastructureError(
                f"unicorn refused a hook (error {status}); version {unicorn.__version__}"
            )
        self._hooks.append(callback)

    def on_code(self, begin: int, end: int, callback: Callable[[int], None]) -> None:
        """Call `callback(address)` before every instruction in ``[begin, end]`` (both inclusive)."""

        def hook(_uc: Any, address: int, _size: int, _data: Any) -> None:
            callback(address)

        self.hook_code(begin, end, hook)

    def hook_code(self, begin: int, end: int, hook: _Hook) -> None:
        """As `on_code`, with `hook(_, address, _, _)` as the library calls it: one Python call less."""
        self._add(uc.UC_HOOK_CODE, _CODE(hook), begin, end)

    def on_interrupt(self, callback: Callable[[int], None]) -> None:
        """Call `callback(vector)` for every interrupt and trap of the processor."""

        def hook(_uc: Any, vector: int, _data: Any) -> None:
            callback(vector)

        self._add(uc.UC_HOOK_INTR, _INTERRUPT(hook))

    def on_invalid(self) -> None:
        """Have undefined instructions end `start` with `ERR_INVALID_INSTRUCTION`."""
        self._add(uc.UC_HOOK_INSN_INVALID, _INVALID(lambda _uc, _data: False))

    def stop(self) -> None:
        """End the innermost `start`; callable from hooks and from other threads."""
        _lib.uc_emu_stop(self._handle)

    def flush_tlb(self) -> None:
        """Forget all translations of addresses."""
        _lib.uc_ctl(self._handle, self._flush_tlb)

    def flush_code(self) -> None:
        """Forget all translated code, after guest code was replaced."""
        _lib.uc_ctl(self._handle, self._flush_code)

    def set_ip(self, value: int) -> None:
        """Move the instruction pointer, also from inside a code hook."""
        self._ip.value = value
        _lib.uc_reg_write(self._handle, self._ip_id, self._ip_at)

    def set_base(self, value: int) -> None:
        """The base of gs (x64): the KPCR."""
        self._uc.reg_write(x86.UC_X86_REG_GS_BASE, value)

    def set_segments(self, gdt: int, limit: int, code: int, data: int, kpcr: int) -> None:
        """Load the descriptor table at `gdt` and the selectors for code, data and fs (x86)."""
        self._uc.reg_write(x86.UC_X86_REG_GDTR, (0, gdt, limit, 0))
        self._uc.reg_write(x86.UC_X86_REG_CS, code)
        for register in (x86.UC_X86_REG_SS, x86.UC_X86_REG_DS, x86.UC_X86_REG_ES):
            self._uc.reg_write(register, data)
        self._uc.reg_write(x86.UC_X86_REG_FS, kpcr)

    def close(self) -> None:
        """Free the engine and let go of the memory."""
        self._hooks.clear()
        self._uc = None  # its finaliser calls uc_close
        self._pin = None
