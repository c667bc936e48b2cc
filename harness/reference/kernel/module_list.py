"""The list of loaded images that DRIVER_OBJECT.DriverSection leads into.

No page documents the entries (KLDR_DATA_TABLE_ENTRY), yet drivers in the field walk the list to find an
image by its name, and set the flag that integrity-checked images have so that process and object callbacks
take their routines. The members up to Flags have lain where they lie since Windows XP (debugger: ``dt
nt!_KLDR_DATA_TABLE_ENTRY``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.kernel.layouts import layout
from harness.reference.kernel.linked_lists import insert_tail, make_empty
from harness.reference.kernel.text import wide_encode

if TYPE_CHECKING:
    from harness.reference.kernel.layouts import View
    from harness.reference.machine import Machine
    from harness.reference.modules import Driver

__all__ = ["LoadedModules"]

#: LDRP_IMAGE_INTEGRITY_FORCED: linked with /INTEGRITYCHECK.
INTEGRITY_FORCED: Final = 0x20
_ORDINARY: Final = 0x4910_4000
_FORCE_INTEGRITY: Final = 0x80  # IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY
_ENTRY_SIZE: Final = 0xA0


class LoadedModules:
    """The entries of one machine, the kernel's first, in the order they were loaded."""

    def __init__(self, machine: Machine) -> None:
        self._m = machine
        self._step = machine.memory.pointer_size
        self._layout = layout("KLDR_DATA_TABLE_ENTRY", self._step)
        #: Where the list begins (PsLoadedModuleList).
        self.head = machine.memory.alloc_static(_ENTRY_SIZE)
        make_empty(machine, self.head)
        self._entries: dict[int, int] = {}  # image base -> entry
        self._names: dict[int, int] = {}  # entry -> its text
        nt = machine.memory.map.nt
        self._insert(
            nt.start, nt.end - nt.start, 0, "ntoskrnl.exe", "\\SystemRoot\\system32\\ntoskrnl.exe", 0
        )

    def add(self, module: Driver) -> int:
        """Append the entry of a loaded image; its address."""
        flags = INTEGRITY_FORCED if _characteristics(module.image) & _FORCE_INTEGRITY else 0
        path = f"\\SystemRoot\\System32\\drivers\\{module.name}"
        return self._insert(module.base, module.size, module.entry, module.name, path, flags)

    def remove(self, module: Driver) -> None:
        """Take the entry of an image out of the list."""
        entry = self._entries.pop(module.base, None)
        if entry is None:
            return
        memory, step = self._m.memory, self._step
        following, before = memory.ptr(entry), memory.ptr(entry + step)
        # A driver that hides itself has unlinked its entry and may have left it in any state.
        if memory.ptr(before) == entry and memory.ptr(following + step) == entry:
            memory.put_ptr(before, following)
            memory.put_ptr(following + step, before)
        self._m.objects.heap.free(self._names.pop(entry))
        self._m.objects.heap.free(entry)

    def integrity_forced(self, base: int) -> bool:
        """Whether the entry of the image at `base` says that its integrity was checked."""
        entry = self._entries.get(base)
        return entry is not None and bool(self._view(entry)["Flags"] & INTEGRITY_FORCED)

    def _view(self, entry: int) -> View:
        return self._layout.at(self._m.memory, entry)

    def _insert(self, base: int, size: int, start: int, name: str, path: str, flags: int) -> int:
        memory = self._m.memory
        entry = self._m.objects.heap.alloc(_ENTRY_SIZE)
        raw, short = wide_encode(path), wide_encode(name)
        text = self._m.objects.heap.alloc(len(raw) + 2)
        memory.write(text, raw)
        view = self._view(entry)
        view["DllBase"], view["EntryPoint"], view["SizeOfImage"] = base, start, size
        memory.put_unicode_string(view.of("FullDllName"), len(raw), len(raw) + 2, text)
        memory.put_unicode_string(
            view.of("BaseDllName"), len(short), len(short) + 2, text + len(raw) - len(short)
        )
        view["Flags"], view["LoadCount"] = _ORDINARY | flags, 1
        insert_tail(self._m, self.head, entry)
        self._entries[base] = entry
        self._names[entry] = text
        return entry


def _characteristics(image: bytes) -> int:
    """DllCharacteristics, which lies 0x46 into the optional header of both forms."""
    header = int.from_bytes(image[0x3C:0x40], "little")
    return int.from_bytes(image[header + 24 + 0x46 : header + 24 + 0x48], "little")
