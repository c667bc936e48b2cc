"""The object manager: typed, counted kernel objects and the handles that name them.

Objects live twice: a Python body with the model's state, and an address in guest memory (a structure where
drivers may look into it, an opaque blob where they may not). What an object type does when a name is asked
for, a handle closes or the last reference goes is a procedure of its type, so that key objects can bring
their own (registry glue) without this module knowing them.

Sources: nf-wdm-obreferenceobjectbyhandle, nf-wdm-obfdereferenceobject, kernel/object-handles,
debugger/bug-check-0x18--reference-by-pointer, debugger/bug-check-0x93--invalid-kernel-handle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness.reference.kernel.heap import ObjectHeap
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.modules import Driver

__all__ = [
    "KERNEL_MODE",
    "USER_MODE",
    "GenericMapping",
    "Handle",
    "HandleTable",
    "KernelObject",
    "ObjectManager",
    "ObjectType",
]

KERNEL_MODE: Final = 0
USER_MODE: Final = 1

OBJ_KERNEL_HANDLE: Final = 0x200

_MAXIMUM_ALLOWED: Final = 0x02000000


@dataclass(frozen=True, slots=True)
class GenericMapping:
    """What the four generic rights of an access mask stand for (GENERIC_MAPPING)."""

    read: int
    write: int
    execute: int
    all: int

    def apply(self, access: int) -> int:
        """Replace the generic bits of `access` by the rights they stand for."""
        result = access & 0x0FFFFFFF
        if access & 0x80000000:
            result |= self.read
        if access & 0x40000000:
            result |= self.write
        if access & 0x20000000:
            result |= self.execute
        if access & 0x10000000:
            result |= self.all
        return result


@dataclass(slots=True, eq=False)
class ObjectType:
    """A type of objects and its procedures; `address` is that of the OBJECT_TYPE blob in guest memory."""

    name: str
    address: int
    mapping: GenericMapping
    #: Bytes of the object's body in guest memory.
    size: int
    #: A name lasts as long as a handle does, unless the object is permanent (events, directories, links).
    named_by_handles: bool = False
    #: The last reference is gone. The object's memory is released afterwards.
    delete: Callable[[KernelObject], None] | None = None
    #: A handle was closed; the count of remaining handles is in `KernelObject.handles`.
    close: Callable[[KernelObject, Handle], None] | None = None
    #: The object's full name, or None when it has none.
    query_name: Callable[[KernelObject], str | None] | None = None
    #: ObQueryNameString in full, where a type does more than give a name (filtered name queries of keys):
    #: (object, buffer, length, return length pointer) -> status.
    query_name_string: Callable[[KernelObject, int, int, int], int] | None = None
    #: (object, SECURITY_INFORMATION, buffer, length, needed pointer) -> status.
    query_security: Callable[[KernelObject, int, int, int, int], int] | None = None
    #: (object, SECURITY_INFORMATION, address of the descriptor) -> status.
    set_security: Callable[[KernelObject, int, int], int] | None = None
    #: Whether a new handle with this access may be made from a pointer: a status. None: any access is
    #: granted.
    open_check: Callable[[KernelObject, int, int], int] | None = None


class KernelObject:
    """One object. `references` counts pointers and handles together, `handles` the handles alone."""

    __slots__ = ("address", "body", "directory", "handles", "name", "permanent", "references", "type")

    def __init__(self, kind: ObjectType, address: int, body: Any) -> None:
        self.type = kind
        self.address = address
        self.body = body
        self.references = 1
        self.handles = 0
        self.permanent = False
        self.name: str | None = None
        #: The directory object that holds the name, None for an unnamed object.
        self.directory: KernelObject | None = None

    def __repr__(self) -> str:
        return f"<{self.type.name} {self.name or ''} at {self.address:#x} refs={self.references}>"


@dataclass(slots=True, eq=False)
class Handle:
    """An entry of a handle table. `notes` belongs to the object's type (a key's options, a file's
    position). `opener` is the driver that opened a kernel handle."""

    value: int
    object: KernelObject
    access: int
    attributes: int = 0
    notes: Any = None
    opener: Driver | None = None


@dataclass(slots=True, eq=False)
class HandleTable:
    """The handles of one process; `flag` is or-ed into every value (kernel handles)."""

    flag: int = 0
    entries: dict[int, Handle] = field(default_factory=dict)
    _next: int = 4

    def insert(self, obj: KernelObject, access: int, attributes: int) -> Handle:
        value = self._next | self.flag
        self._next += 4
        handle = Handle(value, obj, access, attributes)
        self.entries[value] = handle
        return handle


class ObjectManager:
    """All objects of a machine by address, the object types, and the kernel handle table."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.heap = ObjectHeap(machine.memory)
        wide = machine.memory.pointer_size == 8
        #: Bits every kernel handle has, and only a kernel handle.
        self.kernel_flag = 0xFFFFFFFF80000000 if wide else 0x80000000
        self.kernel_handles = HandleTable(self.kernel_flag)
        self.types: dict[str, ObjectType] = {}
        #: Takes an object's name away; the namespace puts itself here.
        self.unname: Callable[[KernelObject], None] = lambda obj: None
        self._types_by_address: dict[int, ObjectType] = {}
        self._objects: dict[int, KernelObject] = {}

    # -- types -------------------------------------------------------------------------------------------

    def define_type(self, name: str, mapping: GenericMapping, size: int = 0) -> ObjectType:
        """Create an object type; the procedures are attributes the caller sets."""
        address = self.heap.alloc(0x80)
        kind = ObjectType(name, address, mapping, size or 0x40)
        self.types[name] = kind
        self._types_by_address[address] = kind
        return kind

    def type_at(self, address: int) -> ObjectType | None:
        return self._types_by_address.get(address)

    # -- objects -----------------------------------------------------------------------------------------

    def create(self, kind: ObjectType, body: Any, size: int = 0, *, address: int = 0) -> KernelObject:
        """A new object with one reference. `size`: bytes of guest memory, default those of the type.

        `address`: memory the caller already has for it (a driver's own structure); it is not released.
        """
        obj = KernelObject(kind, address or self.heap.alloc(size or kind.size), body)
        self._objects[obj.address] = obj
        return obj

    def at(self, address: int) -> KernelObject | None:
        """The live object at an address."""
        return self._objects.get(address)

    def of_type(self, kind: ObjectType) -> Iterator[KernelObject]:
        return (obj for obj in list(self._objects.values()) if obj.type is kind)

    def reference(self, obj: KernelObject, count: int = 1) -> None:
        obj.references += count

    def dereference(self, obj: KernelObject) -> None:
        """Drop one reference; the last one deletes the object. Bugcheck 0x18 below zero."""
        if obj.references <= 0:
            self.machine.bugcheck(
                0x18,
                obj.type.address,
                obj.address,
                1,
                obj.references - 1 & self._mask,
                reason=f"the reference count of a {obj.type.name} object went below zero",
            )
        obj.references -= 1
        if obj.references == 0 and not obj.permanent:
            self._delete(obj)

    def dereference_address(self, address: int) -> None:
        """ObfDereferenceObject for whatever a driver passes. Bugcheck 0x18 when no object is there."""
        obj = self._objects.get(address)
        if obj is None:
            self.machine.bugcheck(
                0x18, 0, address, 2, 0, reason="a reference was dropped on an object that no longer exists"
            )
        if obj.references <= obj.handles + (1 if obj.permanent else 0):
            self.machine.bugcheck(
                0x18,
                obj.type.address,
                obj.address,
                2,
                obj.references,
                reason=f"more references of a {obj.type.name} object were dropped than taken; "
                f"{obj.handles} handle(s) still use it",
            )
        self.dereference(obj)

    def _delete(self, obj: KernelObject) -> None:
        if obj.type.delete is not None:
            obj.type.delete(obj)
        if obj.references > 0:  # the delete procedure kept it (context cleanups look at it)
            return
        self.forget(obj)

    def forget(self, obj: KernelObject) -> None:
        """Take an object out of the model and release its memory."""
        if self._objects.pop(obj.address, None) is not None:
            self.unname(obj)
            self.heap.free(obj.address)

    @property
    def _mask(self) -> int:
        return (1 << (8 * self.machine.memory.pointer_size)) - 1

    # -- handles -----------------------------------------------------------------------------------------

    def open_handle(
        self, obj: KernelObject, access: int, *, table: HandleTable | None = None, attributes: int = 0
    ) -> int:
        """A handle on `obj`, in the kernel's table when `table` is None. Takes a reference of its own."""
        obj.references += 1
        obj.handles += 1
        where = self.kernel_handles if table is None else table
        handle = where.insert(obj, obj.type.mapping.apply(access) & ~_MAXIMUM_ALLOWED, attributes)
        if where is self.kernel_handles:
            handle.opener = self.machine.calling_driver()
        return handle.value

    def table_for(self, attributes: int, mode: int = KERNEL_MODE) -> HandleTable | None:
        """Where a new handle goes: the kernel's table (None) for OBJ_KERNEL_HANDLE, else the current
        process'."""
        if attributes & OBJ_KERNEL_HANDLE and mode == KERNEL_MODE:
            return None
        table: HandleTable = self.machine.current.process.body.handles
        return table

    def is_kernel_handle(self, value: int) -> bool:
        return value & self.kernel_flag == self.kernel_flag and value & 0x7FFFFFFF < 0x7FFFFFF0

    def lookup(self, value: int, mode: int = KERNEL_MODE) -> Handle | None:
        """The entry of a handle value as the current process sees it; kernel handles need kernel mode."""
        if self.is_kernel_handle(value):
            return self.kernel_handles.entries.get(value & ~3 & self._mask) if mode == KERNEL_MODE else None
        table: HandleTable = self.machine.current.process.body.handles
        return table.entries.get(value & ~3)

    def resolve(
        self, value: int, kind: ObjectType | None = None, access: int = 0, mode: int = KERNEL_MODE
    ) -> KernelObject | int:
        """The object of a handle, or a failure status. Pseudo handles give the current process and thread.

        Access is checked for user mode only, as ObReferenceObjectByHandle does it.
        """
        current = self.machine.current
        pseudo = value - (self._mask + 1)
        if pseudo == -1:
            obj: KernelObject = current.process.body.object
        elif pseudo == -2:
            obj = current.body.object
        else:
            handle = self.lookup(value, mode)
            if handle is None:
                return NTSTATUS.INVALID_HANDLE
            obj = handle.object
            if mode != KERNEL_MODE and access & ~handle.access & ~_MAXIMUM_ALLOWED:
                return NTSTATUS.ACCESS_DENIED
        if kind is not None and obj.type is not kind:
            return NTSTATUS.OBJECT_TYPE_MISMATCH
        return obj

    def granted(self, value: int, mode: int = KERNEL_MODE) -> int:
        """The access a handle was given; everything for pseudo handles, nothing for a bad one."""
        if value - (self._mask + 1) in (-1, -2):
            return 0x001FFFFF
        handle = self.lookup(value, mode)
        return 0 if handle is None else handle.access

    def close(self, value: int, mode: int = KERNEL_MODE) -> int:
        """NtClose. Bugcheck 0x93 when kernel code closes a handle that is not open."""
        if value - (self._mask + 1) in (-1, -2):
            return NTSTATUS.SUCCESS
        handle = self.lookup(value, mode)
        if handle is None:
            if mode == KERNEL_MODE and value:
                self.machine.bugcheck(0x93, value, 1, 0, 0, reason="a handle that is not open was closed")
            return NTSTATUS.INVALID_HANDLE
        table = (
            self.kernel_handles
            if self.is_kernel_handle(handle.value)
            else self.machine.current.process.body.handles
        )
        self._close_entry(table, handle)
        return NTSTATUS.SUCCESS

    def close_all(self, table: HandleTable) -> None:
        """A process ends: its handles close in the order they were opened."""
        for handle in list(table.entries.values()):
            if handle.value in table.entries:
                self._close_entry(table, handle)

    def _close_entry(self, table: HandleTable, handle: Handle) -> None:
        del table.entries[handle.value]
        obj = handle.object
        obj.handles -= 1
        if not obj.handles and obj.type.named_by_handles and not obj.permanent:
            self.unname(obj)
        if obj.type.close is not None:
            obj.type.close(obj, handle)
        self.dereference(obj)

    def duplicate(self, handle: Handle, table: HandleTable | None, access: int, attributes: int) -> int:
        """Another handle on the same object. `notes` travel with it."""
        value = self.open_handle(handle.object, access, table=table, attributes=attributes)
        where = self.kernel_handles if table is None else table
        where.entries[value].notes = handle.notes
        return value
