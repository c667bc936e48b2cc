"""The registry helpers of the run-time library: RtlQueryRegistryValues and its siblings.

They open the key and work on it through the ordinary services from kernel mode, so filters see them.
Sources: nf-wdm-rtlqueryregistryvalues, nf-wdm-rtlwriteregistryvalue, nf-wdm-rtldeleteregistryvalue,
nf-wdm-rtlcheckregistrykey, nf-wdm-rtlcreateregistrykey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.filtering.engine import engine_of
from harness.reference.filtering.kernel_calls import KernelCalls, ValueData
from harness.reference.kernel.checks import need_zw
from harness.reference.kernel.text import read_wide_z
from harness.registry.access import KEY_READ, KEY_SET_VALUE
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.memory import Memory

__all__: list[str] = []

_HANDLE: Final = 0x40000000
_OPTIONAL: Final = 0x80000000
#: RTL_REGISTRY_xxx: what a relative path is relative to.
_BASES: Final = {
    0: "",
    1: "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\",
    2: "\\Registry\\Machine\\System\\CurrentControlSet\\Control\\",
    3: "\\Registry\\Machine\\Software\\Microsoft\\Windows NT\\CurrentVersion\\",
    4: "\\Registry\\Machine\\Hardware\\DeviceMap\\",
    5: "\\Registry\\User\\.Default\\",
}

_SUBKEY: Final = 0x01
_TOPKEY: Final = 0x02
_REQUIRED: Final = 0x04
_NOVALUE: Final = 0x08
_DIRECT: Final = 0x20
_DELETE: Final = 0x40
_TYPECHECK: Final = 0x100
_STRINGS: Final = frozenset((ValueType.SZ, ValueType.EXPAND_SZ))
_POOL_TAG: Final = int.from_bytes(b"RqrV", "little")
_FAILURE_BIT: Final = 0x80000000
#: Characters of a path, a name or a default value: what a counted string can say of its length.
_LONGEST_TEXT: Final = 0x8000


def _text(memory: Memory, address: int) -> str:
    """Terminated text of the caller's. Raises `GuestFault`."""
    return read_wide_z(memory, address, _LONGEST_TEXT)


def _open(m: Machine, relative_to: int, path_at: int, access: int = KEY_READ) -> tuple[int, int, bool]:
    """(status, handle, whether to close it) for RelativeTo and Path of these routines."""
    calls = KernelCalls(engine_of(m))
    if relative_to & _HANDLE:
        return NTSTATUS.SUCCESS, path_at, False
    base = _BASES.get(relative_to & ~_OPTIONAL)
    if base is None:
        return NTSTATUS.INVALID_PARAMETER, 0, False
    path = base + (_text(m.memory, path_at) if path_at else "")
    status, handle = calls.open(path.rstrip("\\"), access=access)
    return status, handle, True


@export("RtlCheckRegistryKey", args="ulong, ptr")
def rtl_check_registry_key(m: Machine, relative_to: int, path_at: int) -> int:
    need_zw(m, "RtlCheckRegistryKey")
    status, handle, own = _open(m, relative_to, path_at)
    if own and not status & _FAILURE_BIT:
        KernelCalls(engine_of(m)).close(handle)
    return status


@export("RtlCreateRegistryKey", args="ulong, ptr")
def rtl_create_registry_key(m: Machine, relative_to: int, path_at: int) -> int:
    """Missing levels of the path are created one after the other."""
    need_zw(m, "RtlCreateRegistryKey")
    calls = KernelCalls(engine_of(m))
    path = _text(m.memory, path_at)
    if relative_to & _HANDLE:
        return NTSTATUS.INVALID_PARAMETER
    base = _BASES.get(relative_to & ~_OPTIONAL)
    if base is None:
        return NTSTATUS.INVALID_PARAMETER
    done = base
    status, handle = int(NTSTATUS.OBJECT_NAME_INVALID), 0
    for level in path.strip("\\").split("\\"):
        done = f"{done.rstrip(chr(92))}\\{level}"
        status, handle = calls.create(done)
        if status & _FAILURE_BIT:
            if done.count("\\") <= 2:  # \Registry and its own subkeys exist and can't be created
                continue
            return status
        calls.close(handle)
    return status


@export("RtlWriteRegistryValue", args="ulong, ptr, ptr, ulong, ptr, ulong")
def rtl_write_registry_value(
    m: Machine, relative_to: int, path_at: int, name_at: int, type_: int, data_at: int, length: int
) -> int:
    need_zw(m, "RtlWriteRegistryValue")
    calls = KernelCalls(engine_of(m))
    status, handle, own = _open(m, relative_to, path_at, KEY_SET_VALUE)
    if status == NTSTATUS.OBJECT_NAME_NOT_FOUND and not relative_to & _HANDLE:
        status, handle = calls.create(_BASES[relative_to & ~_OPTIONAL] + _text(m.memory, path_at))
    if status & _FAILURE_BIT:
        return status
    try:
        name = _text(m.memory, name_at) if name_at else ""
        return calls.set(handle, name, type_, m.memory.read(data_at, length))
    finally:
        if own:
            calls.close(handle)


@export("RtlDeleteRegistryValue", args="ulong, ptr, ptr")
def rtl_delete_registry_value(m: Machine, relative_to: int, path_at: int, name_at: int) -> int:
    need_zw(m, "RtlDeleteRegistryValue")
    calls = KernelCalls(engine_of(m))
    status, handle, own = _open(m, relative_to, path_at, KEY_SET_VALUE)
    if status & _FAILURE_BIT:
        return status
    try:
        return calls.delete(handle, _text(m.memory, name_at) if name_at else "")
    finally:
        if own:
            calls.close(handle)


@dataclass(frozen=True, slots=True)
class _Entry:
    """RTL_QUERY_REGISTRY_TABLE; all zero ends the table."""

    routine: int
    flags: int
    name_at: int
    context: int
    default_type: int
    default_data: int
    default_length: int

    @property
    def ends(self) -> bool:
        return not self.routine and not self.name_at


def _entries(m: Machine, table: int) -> list[_Entry]:
    memory, pointer = m.memory, m.memory.pointer_size
    size = 7 * pointer
    found: list[_Entry] = []
    for index in range(256):
        at = table + index * size
        slots = [at + slot * pointer for slot in range(7)]
        entry = _Entry(
            memory.ptr(slots[0]),
            memory.u32(slots[1]),
            memory.ptr(slots[2]),
            memory.ptr(slots[3]),
            memory.u32(slots[4]),
            memory.ptr(slots[5]),
            memory.u32(slots[6]),
        )
        if entry.ends:
            break
        found.append(entry)
    return found


class _Query:
    """One RtlQueryRegistryValues call."""

    def __init__(self, m: Machine, top: int, context: int) -> None:
        self._m = m
        self._calls = KernelCalls(engine_of(m))
        self._top = top
        self._current = top
        self._context = context

    def close(self) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._current != self._top:
            self._calls.close(self._current)
            self._current = self._top

    def run(self, entry: _Entry) -> int:
        if entry.flags & _DIRECT and (not entry.name_at or entry.flags & _SUBKEY or entry.routine):
            return NTSTATUS.INVALID_PARAMETER
        if entry.flags & (_TOPKEY | _SUBKEY):
            self._leave()
        if entry.flags & _SUBKEY:
            status, handle = self._calls.open(_text(self._m.memory, entry.name_at), root=self._top)
            if status & _FAILURE_BIT:
                return NTSTATUS.SUCCESS if not entry.flags & _REQUIRED else status
            self._current = handle
            return self._all_values(entry) if entry.routine else NTSTATUS.SUCCESS
        if entry.flags & _NOVALUE:
            return self._call(entry, "", ValueType.NONE, b"")
        if not entry.name_at:
            return self._all_values(entry)
        name = _text(self._m.memory, entry.name_at)
        value = self._calls.query(self._current, name)
        if value.status & _FAILURE_BIT:
            return self._default(entry, name, value.status)
        status = self._give(entry, ValueData(0, name, value.type, value.data))
        if entry.flags & _DELETE and not status & _FAILURE_BIT:
            self._calls.delete(self._current, name)
        return status

    def _all_values(self, entry: _Entry) -> int:
        index = 0
        while True:
            value = self._calls.enumerate(self._current, index)
            if value.status == NTSTATUS.NO_MORE_ENTRIES:
                if index == 0 and entry.flags & _REQUIRED:
                    return NTSTATUS.OBJECT_NAME_NOT_FOUND
                return NTSTATUS.SUCCESS
            if value.status & _FAILURE_BIT:
                return value.status
            status = self._give(entry, value)
            if status & _FAILURE_BIT:
                return status
            index += 1

    def _default(self, entry: _Entry, name: str, status: int) -> int:
        if status != NTSTATUS.OBJECT_NAME_NOT_FOUND or entry.flags & _REQUIRED:
            return status
        type_ = entry.default_type & 0xFF
        if type_ == ValueType.NONE or not entry.default_data:
            return NTSTATUS.SUCCESS
        memory = self._m.memory
        if entry.default_length:
            data = memory.read(entry.default_data, entry.default_length)
        else:
            data = (_text(memory, entry.default_data) + "\0").encode("utf-16-le", "surrogatepass")
        return self._give(entry, ValueData(0, name, type_, data))

    def _give(self, entry: _Entry, value: ValueData) -> int:
        if entry.flags & _DIRECT:
            return self._direct(entry, value)
        if value.type == ValueType.MULTI_SZ:
            for text in value.data.decode("utf-16-le", "surrogatepass").rstrip("\0").split("\0"):
                raw = (text + "\0").encode("utf-16-le", "surrogatepass")
                status = self._call(entry, value.name, ValueType.SZ, raw)
                if status & _FAILURE_BIT:
                    return status
            return NTSTATUS.SUCCESS
        return self._call(entry, value.name, value.type, value.data)

    def _call(self, entry: _Entry, name: str, type_: int, data: bytes) -> int:
        """QueryRoutine(ValueName, ValueType, ValueData, ValueLength, Context, EntryContext)."""
        m = self._m
        with m.memory.scratch() as scratch:
            name_at = scratch.bytes((name + "\0").encode("utf-16-le", "surrogatepass"))
            data_at = scratch.bytes(data) if data else 0
            status = m.cpu.call(
                entry.routine, name_at, type_, data_at, len(data), self._context, entry.context
            )
        return status & 0xFFFF_FFFF

    def _direct(self, entry: _Entry, value: ValueData) -> int:
        """Store the value at EntryContext: a UNICODE_STRING for strings, the bytes for small other types."""
        m, at = self._m, entry.context
        if entry.flags & _TYPECHECK and (entry.default_type >> 24) != value.type:
            return NTSTATUS.OBJECT_TYPE_MISMATCH
        if value.type in _STRINGS or value.type == ValueType.MULTI_SZ:
            length, maximum, buffer = m.memory.unicode_string(at)
            del length
            size = len(value.data)
            if not buffer:
                # The caller frees it with RtlFreeUnicodeString or ExFreePool.
                buffer = m.pool.alloc(
                    max(size, 2), _POOL_TAG, paged=True, zero=True, owner=m.calling_driver()
                )
                maximum = max(size, 2)
            elif size > maximum:
                return NTSTATUS.BUFFER_TOO_SMALL
            m.memory.write(buffer, value.data)
            shown = size if value.type == ValueType.MULTI_SZ else max(size - 2, 0)
            m.memory.put_unicode_string(at, shown, maximum, buffer)
            return NTSTATUS.SUCCESS
        if len(value.data) <= 4:
            m.memory.write(at, value.data)
            return NTSTATUS.SUCCESS
        capacity = m.memory.u32(at)
        room = -capacity & 0xFFFF_FFFF if capacity & _FAILURE_BIT else capacity
        if room < len(value.data) + (0 if capacity & _FAILURE_BIT else 8):
            return NTSTATUS.BUFFER_TOO_SMALL
        if capacity & _FAILURE_BIT:
            m.memory.write(at, value.data)
        else:
            m.memory.put_u32(at, len(value.data))
            m.memory.put_u32(at + 4, value.type)
            m.memory.write(at + 8, value.data)
        return NTSTATUS.SUCCESS


@export("RtlQueryRegistryValues", args="ulong, ptr, ptr, ptr, ptr")
def rtl_query_registry_values(
    m: Machine, relative_to: int, path_at: int, table: int, context: int, environment: int
) -> int:
    """Strings are given unexpanded, as with RTL_QUERY_REGISTRY_NOEXPAND: `environment` is not used."""
    need_zw(m, "RtlQueryRegistryValues")
    status, handle, own = _open(m, relative_to, path_at)
    if status & _FAILURE_BIT:
        return NTSTATUS.SUCCESS if relative_to & _OPTIONAL else status
    query = _Query(m, handle, context)
    try:
        for entry in _entries(m, table):
            status = query.run(entry)
            if status & _FAILURE_BIT:
                return status
        return NTSTATUS.SUCCESS
    finally:
        query.close()
        if own:
            KernelCalls(engine_of(m)).close(handle)
