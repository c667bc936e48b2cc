"""OBJECT_ATTRIBUTES of a create, open, load or unload: capture, checks, and where the name starts.

Sources: ntdef.h OBJECT_ATTRIBUTES, kernel/object-names; a name the object manager can't begin to parse fails
before any callback (B-NOT-34).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reference.filtering.descriptors import read_descriptor
from harness.reference.filtering.request import CountedString, Requester, ServiceFailure
from harness.reference.kernel.layouts import layout
from harness.registry.access import ObjectAttributes
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.filtering.keyobject import KeyObject

__all__ = ["Named", "capture", "start_of_path"]

_VALID: Final = int(ObjectAttributes.VALID_ATTRIBUTES)


@dataclass(slots=True)
class Named:
    """Captured OBJECT_ATTRIBUTES. `root` is the object of RootDirectory with a reference, None for NULL."""

    name: CountedString
    attributes: int
    root: KeyObject | None
    descriptor_at: int
    descriptor: bytes | None
    quality_at: int
    quality: bytes | None

    def release(self, who: Requester) -> None:
        """Give the reference on the root directory's object back."""
        if self.root is not None:
            who.engine.keys.release(self.root)
            self.root = None


def capture(who: Requester, address: int, *, with_descriptor: bool = True) -> Named:
    """Read OBJECT_ATTRIBUTES. Raises `ServiceFailure`: STATUS_INVALID_PARAMETER (length, flags),
    STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_ACCESS_VIOLATION."""
    memory = who.memory
    shape = layout("OBJECT_ATTRIBUTES", memory.pointer_size)
    who.probe_read(address, shape.size, memory.pointer_size)
    view = shape.at(memory, address)
    attributes = view["Attributes"]
    if view["Length"] != shape.size or attributes & ~_VALID:
        raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)
    attributes = who.handle_attributes(attributes)
    name_at = view["ObjectName"]
    name = who.string(name_at) if name_at else CountedString("", 0, 0, 0, 0)
    descriptor_at = view["SecurityDescriptor"] if with_descriptor else 0
    descriptor = read_descriptor(who, descriptor_at) if descriptor_at else None
    quality_at = view["SecurityQualityOfService"]
    quality = None
    if quality_at and who.user:
        who.probe_read(quality_at, 12, 4)
        quality = memory.read(quality_at, 12)
    handle = view["RootDirectory"]
    root = who.key(handle, 0) if handle else None
    return Named(name, attributes, root, descriptor_at, descriptor, quality_at, quality)


def start_of_path(who: Requester, named: Named) -> tuple[KeyObject, str]:
    """The key object parsing starts at and the name relative to it.

    Raises `ServiceFailure` with what the object manager answers: STATUS_OBJECT_PATH_SYNTAX_BAD,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_NOT_FOUND, STATUS_OBJECT_TYPE_MISMATCH.
    """
    engine, text = who.engine, named.name.text
    if named.root is not None:
        if text.startswith("\\"):
            raise ServiceFailure(NTSTATUS.OBJECT_PATH_SYNTAX_BAD)
        return named.root, text
    found = engine.namespace.find(text)
    if isinstance(found, int):
        raise ServiceFailure(found)
    if found.object is not engine.keys.root.object:
        raise ServiceFailure(NTSTATUS.OBJECT_TYPE_MISMATCH)
    return engine.keys.root, found.rest.removeprefix("\\")
