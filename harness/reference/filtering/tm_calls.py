"""What the exports of the transaction manager share: handles they give, objects they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.filtering.engine import engine_of
from harness.reference.kernel.checks import need_zw
from harness.reference.kernel.objects import KERNEL_MODE, KernelObject
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.filtering.request import Requester
    from harness.reference.machine import Machine

__all__ = [
    "ENLISTMENT",
    "MANAGER",
    "RESOURCE_MANAGER",
    "TRANSACTION",
    "attributes_of",
    "give_handle",
    "object_argument",
    "zw",
]

#: Names of the object types.
TRANSACTION: Final = "TmTx"
MANAGER: Final = "TmTm"
RESOURCE_MANAGER: Final = "TmRm"
ENLISTMENT: Final = "TmEn"


def attributes_of(who: Requester, attributes_at: int) -> int:
    """Attributes of optional OBJECT_ATTRIBUTES; names of these objects are not modelled."""
    if not attributes_at:
        return 0
    offset = 3 * who.memory.pointer_size
    who.probe_read(attributes_at, offset + 4, 4)
    return who.handle_attributes(who.memory.u32(attributes_at + offset))


def give_handle(who: Requester, obj: KernelObject, access: int, attributes: int, handle_at: int) -> int:
    """A handle on an object in exchange for a reference."""
    objects = who.engine.objects
    try:
        who.probe_write(handle_at, who.memory.pointer_size, who.memory.pointer_size)
        table = objects.table_for(attributes, who.mode)
        who.memory.put_ptr(handle_at, objects.open_handle(obj, access, table=table, attributes=attributes))
    finally:
        objects.dereference(obj)
    return NTSTATUS.SUCCESS


def zw(m: Machine, name: str, routine: Callable[..., int], *values: int) -> int:
    """Call a system service as its Zw routine does."""
    need_zw(m, name)
    with m.previous_mode(KERNEL_MODE):
        return routine(engine_of(m), *values)


def object_argument(m: Machine, address: int, type_name: str) -> KernelObject:
    """The object a Tm routine is given by pointer. Anything else is a bugcheck, as with any Ob routine."""
    objects = engine_of(m).objects
    obj = objects.at(address)
    if obj is None or obj.type is not objects.types[type_name]:
        m.bugcheck(0x18, 0, address, 2, 0, reason=f"{address:#x} is no {type_name} object")
    return obj
