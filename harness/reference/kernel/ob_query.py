"""What handles and users are called: ZwQueryObject, the current user's key.

Sources: nf-ntifs-ntqueryobject, nf-ntifs-rtlformatcurrentuserkeypath.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.ob import ob_query_name_string
from harness.reference.kernel.rtl_strings import put_string
from harness.reference.kernel.text import wide_encode
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_BASIC, _NAME = 0, 1
_BASIC_SIZE: Final = 0x38
_TAG: Final = int.from_bytes(b"Strg", "little")


@export("ZwQueryObject", args="handle, ulong, ptr, ulong, ptr")
def zw_query_object(m: Machine, handle: int, kind: int, buffer: int, length: int, needed: int) -> int:
    """ObjectBasicInformation and ObjectNameInformation; other classes are STATUS_INVALID_INFO_CLASS."""
    found = m.objects.resolve(handle)
    if isinstance(found, int):
        return found
    if kind == _NAME:
        return ob_query_name_string(m, found.address, buffer, length, needed)
    if kind != _BASIC:
        return NTSTATUS.INVALID_INFO_CLASS
    if needed:
        m.memory.put_u32(needed, _BASIC_SIZE)
    if length != _BASIC_SIZE:
        return NTSTATUS.INFO_LENGTH_MISMATCH
    head = struct.pack("<4I", 0, m.objects.granted(handle), found.handles, found.references)
    m.memory.write(buffer, head.ljust(_BASIC_SIZE, b"\0"))
    return NTSTATUS.SUCCESS


@export("RtlFormatCurrentUserKeyPath", args="ptr")
def rtl_format_current_user_key_path(m: Machine, string: int) -> int:
    r"""`\REGISTRY\USER\<SID>` of the current process' token, to be freed with RtlFreeUnicodeString."""
    raw = wide_encode(rf"\REGISTRY\USER\{m.current.process.body.token.user}")
    buffer = m.pool.alloc(len(raw) + 2, _TAG, paged=True, zero=True)
    m.memory.write(buffer, raw)
    put_string(m, string, len(raw), len(raw) + 2, buffer)
    return NTSTATUS.SUCCESS
