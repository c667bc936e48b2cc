"""Layouts of the structures a callback receives (REG_*_INFORMATION), computed for both pointer sizes.

The tables below list members in declaration order; offsets follow from natural alignment (B-VER-12).
Sources: the ns-wdm-_reg_*_information pages and nc-wdm-ex_callback_function.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from harness.errors import UsageError
from harness.registry.notify import NotifyClass, delivered_by
from harness.registry.version import WindowsVersion

__all__ = ["STRUCTURES", "Field", "StructLayout", "layout", "structure_name"]

#: Bytes of each kind of member; None: pointer-sized.
_KINDS: Final[dict[str, int | None]] = {
    "object": None,  # a key object (or other object) pointer
    "string": None,  # PUNICODE_STRING
    "ptr": None,  # any other pointer, handle or pointer-sized integer
    "ulong": 4,
    "enum": 4,
    "status": 4,
    "uchar": 1,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One member: offset and size in bytes. `kind` is object, string, ptr, ulong, enum, status or uchar."""

    name: str
    offset: int
    size: int
    kind: str


@dataclass(frozen=True, slots=True)
class StructLayout:
    """A structure for one pointer size; `size` includes trailing padding. Iterates over its fields."""

    name: str
    pointer_size: int
    size: int
    fields: tuple[Field, ...]

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        known = ", ".join(field.name for field in self.fields)
        raise KeyError(f"{self.name} has no member {name}; it has {known}")

    def __contains__(self, name: object) -> bool:
        return any(field.name == name for field in self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def offset(self, name: str) -> int:
        """Offset of a member in bytes."""
        return self[name].offset

    def decode(self, raw: bytes | memoryview) -> dict[str, int]:
        """Every member that lies completely within `raw`, unsigned, by name.

        A record of a structure may be cut short; members beyond its end are simply absent.
        """
        return {
            field.name: int.from_bytes(raw[field.offset : field.offset + field.size], "little")
            for field in self.fields
            if field.offset + field.size <= len(raw)
        }

    def encode(self, **members: int) -> bytes:
        """The structure's bytes with these members set and everything else zero.

        Raises KeyError for a member the structure has not. Values are cut to the member's size.
        """
        raw = bytearray(self.size)
        for name, value in members.items():
            field = self[name]
            value &= (1 << 8 * field.size) - 1
            raw[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")
        return bytes(raw)


# Members of every operation's structure from Vista on (B-VER-11).
_CONTEXT: Final = "CallContext:ptr ObjectContext:ptr Reserved:ptr"
_CREATE: Final = (
    "CompleteName:string RootObject:object ObjectType:ptr {options}:ulong Class:string "
    "SecurityDescriptor:ptr SecurityQualityOfService:ptr DesiredAccess:ulong GrantedAccess:ulong "
    "Disposition:ptr ResultObject:ptr CallContext:ptr RootObjectContext:ptr Transaction:object "
)
_CREATE_V1: Final = (
    _CREATE.format(options="Options")
    + "Version:ptr RemainingName:string Wow64Flags:ulong Attributes:ulong CheckAccessMode:uchar"
)
_LOAD: Final = (
    "Object:object KeyName:string SourceFile:string Flags:ulong TrustClassObject:object UserEvent:object "
    "DesiredAccess:ulong RootHandle:ptr CallContext:ptr ObjectContext:ptr "
)
_QUERY_TAIL: Final = "Length:ulong ResultLength:ptr"

#: Structures whose members before CallContext are all there is on XP and Server 2003.
_SINCE_XP: Final = {
    "REG_DELETE_KEY_INFORMATION": "Object:object",
    "REG_SET_VALUE_KEY_INFORMATION": (
        "Object:object ValueName:string TitleIndex:ulong Type:ulong Data:ptr DataSize:ulong"
    ),
    "REG_DELETE_VALUE_KEY_INFORMATION": "Object:object ValueName:string",
    "REG_SET_INFORMATION_KEY_INFORMATION": (
        "Object:object KeySetInformationClass:enum KeySetInformation:ptr KeySetInformationLength:ulong"
    ),
    "REG_ENUMERATE_KEY_INFORMATION": (
        f"Object:object Index:ulong KeyInformationClass:enum KeyInformation:ptr {_QUERY_TAIL}"
    ),
    "REG_ENUMERATE_VALUE_KEY_INFORMATION": (
        f"Object:object Index:ulong KeyValueInformationClass:enum KeyValueInformation:ptr {_QUERY_TAIL}"
    ),
    "REG_QUERY_KEY_INFORMATION": f"Object:object KeyInformationClass:enum KeyInformation:ptr {_QUERY_TAIL}",
    "REG_QUERY_VALUE_KEY_INFORMATION": (
        "Object:object ValueName:string KeyValueInformationClass:enum KeyValueInformation:ptr " + _QUERY_TAIL
    ),
    "REG_QUERY_MULTIPLE_VALUE_KEY_INFORMATION": (
        "Object:object ValueEntries:ptr EntryCount:ulong ValueBuffer:ptr BufferLength:ptr "
        "RequiredBufferLength:ptr"
    ),
    "REG_RENAME_KEY_INFORMATION": "Object:object NewName:string",
    "REG_KEY_HANDLE_CLOSE_INFORMATION": "Object:object",
}

#: Structures of classes that begin with Vista or later; complete member lists.
_SINCE_VISTA: Final = {
    "REG_CREATE_KEY_INFORMATION": _CREATE.format(options="CreateOptions") + "Reserved:ptr",
    "REG_CREATE_KEY_INFORMATION_V1": _CREATE_V1,
    "REG_POST_OPERATION_INFORMATION": (
        f"Object:object Status:status PreInformation:ptr ReturnStatus:status {_CONTEXT}"
    ),
    "REG_LOAD_KEY_INFORMATION": _LOAD + "Reserved:ptr",
    "REG_LOAD_KEY_INFORMATION_V2": _LOAD + "Version:ptr FileAccessToken:object",
    "REG_UNLOAD_KEY_INFORMATION": f"Object:object UserEvent:object {_CONTEXT}",
    # No CallContext: ObjectContext sits where other structures have CallContext.
    "REG_CALLBACK_CONTEXT_CLEANUP_INFORMATION": "Object:object ObjectContext:ptr Reserved:ptr",
    "REG_QUERY_KEY_SECURITY_INFORMATION": (
        f"Object:object SecurityInformation:ptr SecurityDescriptor:ptr Length:ptr {_CONTEXT}"
    ),
    "REG_SET_KEY_SECURITY_INFORMATION": (
        f"Object:object SecurityInformation:ptr SecurityDescriptor:ptr {_CONTEXT}"
    ),
    "REG_RESTORE_KEY_INFORMATION": f"Object:object FileHandle:ptr Flags:ulong {_CONTEXT}",
    "REG_SAVE_KEY_INFORMATION": f"Object:object FileHandle:ptr Format:ulong {_CONTEXT}",
    "REG_REPLACE_KEY_INFORMATION": f"Object:object OldFileName:string NewFileName:string {_CONTEXT}",
    "REG_QUERY_KEY_NAME": f"Object:object ObjectNameInfo:ptr Length:ulong ReturnLength:ptr {_CONTEXT}",
    "REG_SAVE_MERGED_KEY_INFORMATION": (
        f"Object:object FileHandle:ptr HighKeyObject:object LowKeyObject:object {_CONTEXT}"
    ),
}

#: The forms before Vista of structures that were shorter or different there.
_BEFORE_VISTA: Final = {
    **_SINCE_XP,
    "REG_PRE_CREATE_KEY_INFORMATION": "CompleteName:string",
    "REG_POST_CREATE_KEY_INFORMATION": "CompleteName:string Object:object Status:status",
    "REG_CREATE_KEY_INFORMATION": "CompleteName:string RootObject:object",
    "REG_POST_OPERATION_INFORMATION": "Object:object Status:status",
}

_FROM_VISTA: Final = {
    **{name: f"{members} {_CONTEXT}" for name, members in _SINCE_XP.items()},
    **_SINCE_VISTA,
}


def _compute(name: str, members: str, pointer_size: int) -> StructLayout:
    fields: list[Field] = []
    offset, alignment = 0, 1
    for member in members.split():
        field_name, _, kind = member.partition(":")
        size = _KINDS[kind] or pointer_size
        offset = -(-offset // size) * size
        fields.append(Field(field_name, offset, size, kind))
        offset += size
        alignment = max(alignment, size)
    return StructLayout(name, pointer_size, -(-offset // alignment) * alignment, tuple(fields))


#: Every layout: (structure name, pointer size, has Vista members) -> layout.
STRUCTURES: Final = MappingProxyType(
    {
        (name, pointer_size, vista): _compute(name, members, pointer_size)
        for vista, table in ((False, _BEFORE_VISTA), (True, _FROM_VISTA))
        for name, members in table.items()
        for pointer_size in (4, 8)
    }
)

_BY_OPERATION: Final = {
    NotifyClass.PRE_FLUSH_KEY: "REG_DELETE_KEY_INFORMATION",  # documented alias REG_FLUSH_KEY_INFORMATION
    NotifyClass.PRE_CREATE_KEY: "REG_PRE_CREATE_KEY_INFORMATION",
    NotifyClass.PRE_OPEN_KEY: "REG_PRE_CREATE_KEY_INFORMATION",
    NotifyClass.POST_CREATE_KEY: "REG_POST_CREATE_KEY_INFORMATION",
    NotifyClass.POST_OPEN_KEY: "REG_POST_CREATE_KEY_INFORMATION",
    NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP: "REG_CALLBACK_CONTEXT_CLEANUP_INFORMATION",
    NotifyClass.PRE_QUERY_KEY_NAME: "REG_QUERY_KEY_NAME",
}


def structure_name(notify_class: NotifyClass, version: WindowsVersion) -> str:
    """Name of the structure that class carries on that version."""
    if notify_class in (NotifyClass.PRE_CREATE_KEY_EX, NotifyClass.PRE_OPEN_KEY_EX):
        return "REG_CREATE_KEY_INFORMATION_V1" if version.has_create_v1 else "REG_CREATE_KEY_INFORMATION"
    if notify_class is NotifyClass.PRE_LOAD_KEY and version.has_load_key_v2:
        return "REG_LOAD_KEY_INFORMATION_V2"
    if notify_class in _BY_OPERATION:
        return _BY_OPERATION[notify_class]
    if notify_class.is_post:
        return "REG_POST_OPERATION_INFORMATION"
    return f"REG_{notify_class.operation.name}_INFORMATION"


@cache
def layout(notify_class: NotifyClass, version: WindowsVersion, pointer_size: int) -> StructLayout:
    """The layout of the structure a callback gets with `notify_class` on `version`; pointer_size is 4 or 8.

    Raises UsageError when that version does not deliver the class.
    """
    if notify_class not in delivered_by(version):
        raise UsageError(f"{notify_class.documented_name} is not delivered by Windows {version}")
    return STRUCTURES[structure_name(notify_class, version), pointer_size, version.has_context]
