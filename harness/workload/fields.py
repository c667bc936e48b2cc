"""The fields an operation can have: one name, one kind, one meaning and one default each.

`harness.workload.opcodes` says which operation takes which fields. An absent field has its default; encoders
leave defaults out, so a decoder (the reference guest's runner, a runner in C) starts from this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = [
    "FIELDS",
    "MAX_BUFFER",
    "MAX_HANDLES",
    "MAX_OPERATIONS",
    "MAX_PROCESSES",
    "MAX_TEXT",
    "MAX_THREADS",
    "OBJ_CASE_INSENSITIVE",
    "FieldKind",
    "FieldSpec",
]

#: Operations in one program.
MAX_OPERATIONS: Final = 65_536
#: Handle slots of one program.
MAX_HANDLES: Final = 4_096
#: UTF-16 code units of one text: UNICODE_STRING.Length is a USHORT of bytes.
MAX_TEXT: Final = 32_767
#: Bytes of one input or output buffer. Values beyond 1 MB are part of the workloads.
MAX_BUFFER: Final = 16 * 1024 * 1024
#: Processes a program can name: the runner and helpers it starts.
MAX_PROCESSES: Final = 4
#: Threads a program can name in each process.
MAX_THREADS: Final = 16
#: OBJ_CASE_INSENSITIVE, what Win32 passes for every key.
OBJ_CASE_INSENSITIVE: Final = 0x40

_U32 = 0xFFFF_FFFF
_U64 = 0xFFFF_FFFF_FFFF_FFFF


class FieldKind(StrEnum):
    """How a field is written in CBOR and held in Python."""

    #: Index of a handle slot (unsigned; Python int or None). A slot never filled holds the NULL handle.
    HANDLE = "handle"
    #: Unsigned integer up to `FieldSpec.maximum`.
    UNSIGNED = "unsigned"
    #: True or false.
    FLAG = "flag"
    #: Counted UTF-16 text. CBOR text under the field's name; where it has unpaired surrogates (no UTF-8 form)
    #: a byte string of UTF-16-LE under the name with 16 appended: `name16`. Embedded NULs are legal.
    TEXT = "text"
    #: Array of TEXT, each item a CBOR text or a byte string of UTF-16-LE.
    TEXTS = "texts"
    #: Byte string.
    BYTES = "bytes"
    #: Array of [offset, slot]: the slot's handle is stored at `offset` of `data` as an unsigned 64-bit value.
    PATCHES = "patches"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """`default` None means absent, and `meaning` says what absent means to the native call."""

    name: str
    kind: FieldKind
    meaning: str
    default: int | bool | tuple[()] | None = None
    maximum: int = _U32


def _table(*specs: FieldSpec) -> dict[str, FieldSpec]:
    return {spec.name: spec for spec in specs}


_H, _U, _F, _T = FieldKind.HANDLE, FieldKind.UNSIGNED, FieldKind.FLAG, FieldKind.TEXT

FIELDS: Final[dict[str, FieldSpec]] = _table(
    # where it runs
    FieldSpec(
        "process",
        _U,
        "0: the runner; 1 and on: further processes, started on first use",
        0,
        MAX_PROCESSES - 1,
    ),
    FieldSpec("thread", _U, "thread of that process; operations run one after the other", 0, MAX_THREADS - 1),
    FieldSpec(
        "background",
        _F,
        "the program goes on beside the operation; what comes next on its thread, or of its process where "
        "that isn't the runner, waits until it has ended, and so does the program's end",
        False,
    ),
    # handles
    FieldSpec("out", _H, "slot that receives the new handle; it stays as it was when the call fails"),
    FieldSpec("handle", _H, "the handle the call is about"),
    FieldSpec("root", _H, "OBJECT_ATTRIBUTES.RootDirectory; absent: NULL"),
    FieldSpec("predefined", _U, "Win32 calls: an HKEY_xxx, e.g. 0x80000002; absent: `root`"),
    FieldSpec("low_handle", _H, "merged save: the low precedence tree"),
    FieldSpec("transaction", _H, "transaction handle of a transacted create or open"),
    FieldSpec("event", _H, "event handle; absent: NULL"),
    FieldSpec("buffer", _H, "memory of `allocate_memory`, passed instead of the data or output buffer"),
    FieldSpec("trust", _H, "NtLoadKeyEx: trust class key; absent: NULL"),
    # object attributes
    FieldSpec("name", _T, "OBJECT_ATTRIBUTES.ObjectName; absent: an empty string with a NULL buffer"),
    FieldSpec("attributes", _U, "OBJECT_ATTRIBUTES.Attributes, OBJ_xxx", OBJ_CASE_INSENSITIVE),
    FieldSpec("sddl", _T, "security descriptor as SDDL; `security` wins when both are given"),
    FieldSpec(
        "security", FieldKind.BYTES, "self-relative security descriptor, passed as it is", None, 65_535
    ),
    FieldSpec(
        "name_maximum", _U, "MaximumLength of the call's name in bytes; absent: its Length", None, 65_535
    ),
    # scalars
    FieldSpec("access", _U, "DesiredAccess", 0),
    FieldSpec("options", _U, "create or open options REG_OPTION_xxx; absent on an open: the call without Ex"),
    FieldSpec("title_index", _U, "TitleIndex", 0),
    FieldSpec("type", _U, "value type REG_xxx", 0),
    FieldSpec("index", _U, "index of an enumeration", 0),
    FieldSpec("info_class", _U, "information class of the call", 0),
    FieldSpec("length", _U, "bytes of the output buffer; 0 passes a NULL buffer", 0, MAX_BUFFER),
    FieldSpec("flags", _U, "flags of the call", 0),
    FieldSpec("milliseconds", _U, "how long a wait may take; absent: for ever"),
    FieldSpec("form", _U, "which native routine of a family, see the operation", 1, 4),
    FieldSpec("format", _U, "NtSaveKeyEx format; absent: NtSaveKey"),
    FieldSpec("security_information", _U, "SECURITY_INFORMATION mask", 0),
    FieldSpec("target_process", _U, "process that receives a duplicated handle", 0, MAX_PROCESSES - 1),
    FieldSpec("code", _U, "I/O control code", 0),
    FieldSpec(
        "address",
        _U,
        "raw pointer passed instead of the data or output buffer; absent: a real buffer",
        None,
        _U64,
    ),
    FieldSpec(
        "null_result", _F, "pass NULL for the optional output (Disposition, RequiredBufferLength)", False
    ),
    # buffers and names
    FieldSpec("data", FieldKind.BYTES, "input buffer; absent: NULL pointer", None, MAX_BUFFER),
    FieldSpec("data_size", _U, "size passed for `data`; absent: its real size, 0 for NULL"),
    FieldSpec("value_name", _T, "value name; absent: the default value (empty string with a NULL buffer)"),
    FieldSpec("value_names", FieldKind.TEXTS, "value names of a multiple query", (), 1_024),
    FieldSpec("class_name", _T, "class string of a create; absent: NULL"),
    FieldSpec("new_name", _T, "new last component of a rename"),
    FieldSpec(
        "file", _T, "file as a DOS path of the guest, e.g. C:\\harness\\app.dat; the runner prefixes \\??\\"
    ),
    FieldSpec("old_file", _T, "replace: DOS path that receives the backup of the old hive"),
    FieldSpec("device", _T, "device name, e.g. \\\\.\\RegProbe"),
    FieldSpec("label", _T, "text of a mark; no effect on the guest"),
    FieldSpec("patches", FieldKind.PATCHES, "handles stored into `data` before the call", (), 64),
)
