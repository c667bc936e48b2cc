"""The kernel's exports: how a routine is declared, which Windows has it, and where a driver finds it.

A routine is a Python function with a decorator::

    @export("ExAllocatePoolWithTag", args="ulong, size, ulong")
    def ex_allocate_pool_with_tag(m: Machine, pool_type: int, size: int, tag: int) -> int: ...

It gets the machine and its arguments as integers (unsigned unless the kind is ``long``) and returns the
value of the accumulator, or None for a routine without one. `GuestFault` and `RaiseInGuest` leaving it
become exceptions at the caller. A variable is a function that returns its address::

    @export("NtBuildNumber", data=True)
    def nt_build_number(m: Machine) -> int: ...
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from harness.errors import UsageError
from harness.guest import Arch

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["ArgumentKind", "Convention", "Export", "ExportTable", "VarArgs", "collect", "export"]

F = TypeVar("F", bound=Callable[..., Any])

#: A bound of `since` and `until`: (major, minor) or (major, minor, build).
Bound = tuple[int, ...]

#: The kernel under its other file names (uniprocessor, multiprocessor, PAE), and tm.sys, which has the
#: transaction manager on new systems (nf-wdm-tmreadonlyenlistment, DLL).
_KERNEL_NAMES: Final = frozenset({"ntoskrnl.exe", "ntkrnlpa.exe", "ntkrnlmp.exe", "ntkrpamp.exe", "tm.sys"})
#: API sets that stand for parts of the kernel.
_KERNEL_API_SETS: Final = "ext-ms-win-ntos-"
_PACKAGES: Final = ("harness.reference.seh", "harness.reference.kernel", "harness.reference.filtering")
_DIRECTORY: Final[dict[str, list[Export]]] = {}


class Convention(StrEnum):
    """Calling convention on x86; x64 has one only."""

    STDCALL = "stdcall"
    CDECL = "cdecl"
    FASTCALL = "fastcall"


@dataclass(frozen=True, slots=True)
class ArgumentKind:
    """Struct codes of one argument in its stack slot: 8 bytes on x64, `slots` times 4 bytes on x86."""

    name: str
    x64: str
    x86: str
    slots: int
    mask: int  # of the value when it travels in a register


_POINTER: Final = ArgumentKind("ptr", "Q", "I", 1, (1 << 32) - 1)
_KINDS: Final[dict[str, ArgumentKind]] = {
    "ptr": _POINTER,
    "size": _POINTER,
    "handle": _POINTER,
    "ulong": ArgumentKind("ulong", "I4x", "I", 1, (1 << 32) - 1),
    "long": ArgumentKind("long", "i4x", "i", 1, (1 << 32) - 1),
    "ushort": ArgumentKind("ushort", "H6x", "H2x", 1, 0xFFFF),
    "uchar": ArgumentKind("uchar", "B7x", "B3x", 1, 0xFF),
    "ulonglong": ArgumentKind("ulonglong", "Q", "Q", 2, 0),
    "longlong": ArgumentKind("longlong", "q", "q", 2, 0),
    "va": ArgumentKind("va", "", "", 0, 0),
}


@dataclass(frozen=True, slots=True)
class Export:
    """One routine or variable of the kernel.

    `since` is the first Windows that has it, `until` the first that has it no longer. `modules` are the
    lower-case file names that export it: a driver that imports it from elsewhere does not get it.
    `returns` is ``"ulonglong"`` when x86 returns it in edx:eax.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[ArgumentKind, ...]
    since: Bound
    until: Bound | None
    modules: frozenset[str]
    convention: Convention
    wide: bool
    data: bool
    arches: frozenset[Arch]
    source: str  # where it is defined: "harness.reference.kernel.pool"
    #: It is there so that drivers load, and says when it is called that it does nothing.
    declined: bool = False

    def exists_on(self, number: tuple[int, int, int], arch: Arch) -> bool:
        """Whether Windows `number` (major, minor, build) for `arch` exports it."""
        if arch not in self.arches or number[: len(self.since)] < self.since:
            return False
        return self.until is None or number[: len(self.until)] < self.until

    @property
    def variadic(self) -> bool:
        """Whether the last argument is a `VarArgs` cursor."""
        return bool(self.args) and self.args[-1].name == "va"

    def stack_bytes(self) -> int:
        """Bytes of arguments an x86 routine pops on return (0 for cdecl)."""
        if self.convention is Convention.CDECL:
            return 0
        slots = [kind.slots for kind in self.args]
        return 4 * sum(slots[2:] if self.convention is Convention.FASTCALL else slots)


class VarArgs:
    """Cursor over variadic arguments; also serves a ``va_list``, which is the same memory."""

    __slots__ = ("_m", "address")

    def __init__(self, m: Machine, address: int) -> None:
        self._m = m
        #: Where the next argument is.
        self.address = address

    def ptr(self) -> int:
        """The next pointer-sized argument."""
        value = self._m.memory.ptr(self.address)
        self.address += self._m.memory.pointer_size
        return value

    def u32(self) -> int:
        """The next argument as an unsigned 32-bit value."""
        value = self._m.memory.u32(self.address)
        self.address += self._m.memory.pointer_size
        return value

    def u64(self) -> int:
        """The next argument as an unsigned 64-bit value (two slots on x86)."""
        value = self._m.memory.u64(self.address)
        self.address += 8
        return value


def export(
    name: str,
    *,
    args: str = "",
    since: Bound = (5, 1),
    until: Bound | None = None,
    modules: Iterable[str] = ("ntoskrnl.exe",),
    cc: str = "stdcall",
    returns: str = "",
    data: bool = False,
    arches: Iterable[Arch | str] = (Arch.X64, Arch.X86),
    declined: bool = False,
) -> Callable[[F], F]:
    """Declare a kernel export. Raises `UsageError` for an unknown argument kind.

    `args` names the kind of every argument: ptr, size, handle, ulong, long, ushort, uchar, ulonglong,
    longlong (two stack slots on x86), and last ``va`` for a variadic cursor. One function may be
    declared under several names by stacking decorators.
    """
    kinds = []
    for word in filter(None, (part.strip() for part in args.split(","))):
        if word not in _KINDS:
            raise UsageError(f"export {name}: {word!r} is not an argument kind; use {', '.join(_KINDS)}")
        kinds.append(_KINDS[word])

    def declare(function: F) -> F:
        entry = Export(
            name=name,
            function=function,
            args=tuple(kinds),
            since=since,
            until=until,
            modules=frozenset(module.lower() for module in modules),
            convention=Convention(cc),
            wide=returns == "ulonglong",
            data=data,
            arches=frozenset(Arch(arch) for arch in arches),
            source=function.__module__,
            declined=declined,
        )
        entries = _DIRECTORY.setdefault(name, [])
        # A module imported twice (a test that reloads it) replaces its own declarations.
        entries[:] = [
            e for e in entries if (e.source, e.since, e.arches) != (entry.source, since, entry.arches)
        ]
        entries.append(entry)
        return function

    return declare


def collect() -> dict[str, list[Export]]:
    """Every declared export by name, after importing the modules that declare them."""
    for package_name in _PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.walk_packages(package.__path__, package_name + "."):
            importlib.import_module(module.name)
    return _DIRECTORY


class ExportTable:
    """The exports that one Windows version has: a mapping from name to `Export`."""

    def __init__(self, number: tuple[int, int, int], arch: Arch, place: Callable[[Export], int]) -> None:
        """`place` gives a routine a trap slot (or a variable its memory) and returns its address."""
        self._number = number
        self._arch = arch
        self._place = place
        self._known: dict[str, Export | None] = {}
        self._addresses: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._all = collect()

    def __getitem__(self, name: str) -> Export:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._all if self.get(name) is not None)

    def get(self, name: str) -> Export | None:
        """The export called `name` on this Windows, or None."""
        if name not in self._known:
            fitting = [e for e in self._all.get(name, ()) if e.exists_on(self._number, self._arch)]
            self._known[name] = fitting[-1] if fitting else None
        return self._known[name]

    def find(self, module: str, name: str | int) -> Export | None:
        """What a driver's import of `name` from `module` binds to, or None; no ordinal is known."""
        if isinstance(name, int):
            return None
        wanted = _canonical(module)
        fitting = [
            e
            for e in self._all.get(name, ())
            if wanted in map(_canonical, e.modules) and e.exists_on(self._number, self._arch)
        ]
        return fitting[-1] if fitting else None

    def on_other_windows(self, module: str, name: str | int) -> tuple[Export, ...]:
        """What `module` exports as `name` on some Windows, of either architecture; no ordinals."""
        if isinstance(name, int):
            return ()
        wanted = _canonical(module)
        return tuple(e for e in self._all.get(name, ()) if wanted in map(_canonical, e.modules))

    def address_of(self, name: str) -> int:
        """The address of an export, 0 when this Windows lacks it (what MmGetSystemRoutineAddress gives)."""
        address = self._addresses.get(name)
        if address is None:
            found = self.get(name)
            address = self._place(found) if found is not None else 0
            self._addresses[name] = address
            if address:
                self._names[address] = name
        return address

    def routine_address(self, name: str) -> int:
        """As `address_of`, for kernel and HAL routines alone: what MmGetSystemRoutineAddress searches."""
        found = self.get(name)
        if found is None or not any(_canonical(m) in ("ntoskrnl.exe", "hal.dll") for m in found.modules):
            return 0
        return self.address_of(name)

    def name_at(self, address: int) -> str | None:
        """The export at exactly `address`, or None."""
        return self._names.get(address)


def _canonical(module: str) -> str:
    lowered = module.lower()
    kernel = lowered in _KERNEL_NAMES or lowered.startswith(_KERNEL_API_SETS)
    return "ntoskrnl.exe" if kernel else lowered
