"""The object namespace: directories, symbolic links and path look-up.

Names compare without case (every caller a driver has uses OBJ_CASE_INSENSITIVE or gets it from the I/O
manager). ``\\??`` and ``\\DosDevices`` are the global DOS device directory: the model has one session.
Sources: kernel/object-directories, kernel/object-names, nf-wdm-iocreatesymboliclink.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.reference.kernel.objects import GenericMapping, KernelObject, ObjectManager, ObjectType
from harness.reference.kernel.text import upcase
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["Directory", "Found", "Namespace", "SymbolicLink"]

_MAX_LINKS: Final = 32
_DIRECTORIES: Final = (
    "\\Device",
    "\\Driver",
    "\\FileSystem",
    "\\GLOBAL??",
    "\\ObjectTypes",
    "\\Callback",
    "\\BaseNamedObjects",
    "\\KernelObjects",
    "\\Device\\Harddisk0",
)


@dataclass(slots=True)
class Directory:
    entries: dict[str, KernelObject] = field(default_factory=dict)


@dataclass(slots=True)
class SymbolicLink:
    target: str


@dataclass(frozen=True, slots=True)
class Found:
    """A look-up's result: the object reached and what is left of the path behind it (with its backslash)."""

    object: KernelObject
    rest: str


class Namespace:
    """The tree below ``\\``."""

    def __init__(self, machine: Machine, objects: ObjectManager) -> None:
        self._objects = objects
        objects.unname = self.remove
        self.directory_type = objects.define_type(
            "Directory", GenericMapping(0x20003, 0x2000C, 0x20003, 0xF000F), 0x40
        )
        self.link_type = objects.define_type(
            "SymbolicLink", GenericMapping(0x20001, 0x20000, 0x20001, 0xF0001)
        )
        self.directory_type.query_name = self.full_name
        self.link_type.query_name = self.full_name
        self.directory_type.named_by_handles = self.link_type.named_by_handles = True
        self.root = objects.create(self.directory_type, Directory())
        self.root.permanent = True
        for path in _DIRECTORIES:
            self.insert(path, self._new(self.directory_type, Directory()))
        self.dos_devices = self.find("\\GLOBAL??")
        # Drivers name \??\C:, the device behind it is a volume.
        self.insert("\\??", self._new(self.link_type, SymbolicLink("\\GLOBAL??")))
        self.insert("\\DosDevices", self._new(self.link_type, SymbolicLink("\\GLOBAL??")))
        self.insert("\\SystemRoot", self._new(self.link_type, SymbolicLink("\\GLOBAL??\\C:\\Windows")))
        self.insert("\\GLOBAL??\\C:", self._new(self.link_type, SymbolicLink("\\Device\\HarddiskVolume1")))
        self.insert("\\GLOBAL??\\GLOBALROOT", self._new(self.link_type, SymbolicLink("")))

    def _new(self, kind: ObjectType, body: Directory | SymbolicLink) -> KernelObject:
        obj = self._objects.create(kind, body)
        obj.permanent = True
        return obj

    def find(self, path: str, *, follow_last: bool = True) -> Found | int:
        """Walk a path; stops at the first object that is neither directory nor link.

        Statuses: STATUS_OBJECT_PATH_SYNTAX_BAD (not absolute), STATUS_OBJECT_NAME_NOT_FOUND (last component),
        STATUS_OBJECT_PATH_NOT_FOUND (one before it).
        """
        if not path.startswith("\\"):
            return NTSTATUS.OBJECT_PATH_SYNTAX_BAD
        for _ in range(_MAX_LINKS):
            step = self._walk(path, follow_last)
            if not isinstance(step, str):
                return step
            path = step
        return NTSTATUS.OBJECT_NAME_INVALID

    def _walk(self, path: str, follow_last: bool) -> Found | int | str:
        """One walk without following links: the result, or the path a link leads to."""
        here = self.root
        parts = path.split("\\")[1:]
        if parts == [""]:
            return Found(here, "")
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            if not part:
                return NTSTATUS.OBJECT_NAME_INVALID
            entry = here.body.entries.get(upcase(part))
            if entry is None:
                return NTSTATUS.OBJECT_NAME_NOT_FOUND if last else NTSTATUS.OBJECT_PATH_NOT_FOUND
            rest = "".join("\\" + each for each in parts[index + 1 :])
            if entry.type is self.link_type:
                if last and not follow_last:
                    return Found(entry, "")
                return str(entry.body.target) + rest or "\\"
            if entry.type is not self.directory_type:
                return Found(entry, rest)
            here = entry
        return Found(here, "")

    def insert(self, path: str, obj: KernelObject) -> int:
        """Give an object a name. STATUS_OBJECT_NAME_COLLISION when it is taken."""
        parent_path, _, name = path.rpartition("\\")
        parent = self.find(parent_path or "\\")
        if isinstance(parent, int):
            return NTSTATUS.OBJECT_PATH_NOT_FOUND if parent == NTSTATUS.OBJECT_NAME_NOT_FOUND else parent
        if not name or parent.rest or parent.object.type is not self.directory_type:
            return NTSTATUS.OBJECT_PATH_NOT_FOUND if name else NTSTATUS.OBJECT_NAME_INVALID
        entries = parent.object.body.entries
        if upcase(name) in entries:
            return NTSTATUS.OBJECT_NAME_COLLISION
        entries[upcase(name)] = obj
        obj.name = name
        obj.directory = parent.object
        return NTSTATUS.SUCCESS

    def remove(self, obj: KernelObject) -> None:
        """Take the name away; the object lives on by its references."""
        if obj.directory is not None and obj.name is not None:
            entries = obj.directory.body.entries
            if entries.get(upcase(obj.name)) is obj:
                del entries[upcase(obj.name)]
        obj.directory = None

    def create_link(self, path: str, target: str) -> KernelObject | int:
        """A symbolic link object; the status of `insert` when the name can't be had."""
        link = self._objects.create(self.link_type, SymbolicLink(target))
        status = self.insert(path, link)
        if status:
            self._objects.dereference(link)
            return status
        link.permanent = True
        return link

    def full_name(self, obj: KernelObject) -> str | None:
        """The path of a named object, None for an unnamed one."""
        if obj is self.root:
            return "\\"
        if obj.name is None or obj.directory is None:
            return None
        parent = "" if obj.directory is self.root else self.full_name(obj.directory)
        return f"{parent}\\{obj.name}"
