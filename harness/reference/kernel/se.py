"""Security reference monitor: subject contexts, access checks, privileges, tokens.

Sources: nf-ntifs-secapturesubjectcontext, nf-wdm-seaccesscheck, nf-ntddk-sesingleprivilegecheck,
nf-ntifs-sequeryinformationtoken, nf-ntifs-zwopenprocesstokenex, nf-ntifs-zwqueryinformationtoken,
nf-ntifs-seconvertstringsecuritydescriptortosecuritydescriptor (user page of the SDDL routine).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference.cm.sddl import parse_sddl
from harness.reference.cm.security import SecurityDescriptor, SecurityError, Sid
from harness.reference.cm.tokens import ADMINISTRATORS, SYSTEM, Token
from harness.reference.exports import export
from harness.reference.kernel.checks import need_irql, need_zw
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.objects import GenericMapping, KernelObject
from harness.reference.kernel.security import access_check, capture_descriptor, token_of
from harness.reference.kernel.text import read_wide_z
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_TAG: Final = int.from_bytes(b"SeSd", "little")
_PRIVILEGES: Final = {
    7: "SeTcbPrivilege",
    8: "SeSecurityPrivilege",
    9: "SeTakeOwnershipPrivilege",
    10: "SeLoadDriverPrivilege",
    17: "SeBackupPrivilege",
    18: "SeRestorePrivilege",
    23: "SeChangeNotifyPrivilege",
}
_TOKEN_USER, _TOKEN_GROUPS, _TOKEN_PRIVILEGES, _TOKEN_OWNER, _TOKEN_PRIMARY_GROUP = range(1, 6)
_TOKEN_TYPE, _TOKEN_STATISTICS, _TOKEN_SESSION_ID = 8, 10, 12
_TOKEN_ELEVATION_TYPE, _TOKEN_ELEVATION, _TOKEN_INTEGRITY_LEVEL = 18, 20, 25


def _token(m: Machine, address: int) -> Token:
    obj = m.objects.at(address)
    if obj is None or obj.type is not m.kernel.processes.token_type:
        m.bugcheck(0x18, 0, address, 1, 0, reason="a security routine got something that is no token")
    token: Token = obj.body
    return token


# -- subject contexts --------------------------------------------------------------------------------------


@export("SeCaptureSubjectContext", args="ptr")
def se_capture_subject_context(m: Machine, context: int) -> None:
    need_irql(m, 0, "SeCaptureSubjectContext", "nf-ntifs-secapturesubjectcontext")
    view = layout("SECURITY_SUBJECT_CONTEXT", m.memory.pointer_size).at(m.memory, context)
    primary = m.current.process.body.token_object
    m.objects.reference(primary)
    impersonating = m.current.body.impersonating
    if impersonating is not None:
        m.objects.reference(impersonating)
    view["ClientToken"] = impersonating.address if impersonating is not None else 0
    view["ImpersonationLevel"] = 2
    view["PrimaryToken"] = primary.address
    view["ProcessAuditId"] = m.current.process.pid


@export("SeReleaseSubjectContext", args="ptr")
def se_release_subject_context(m: Machine, context: int) -> None:
    view = layout("SECURITY_SUBJECT_CONTEXT", m.memory.pointer_size).at(m.memory, context)
    for member in ("ClientToken", "PrimaryToken"):
        if view[member]:
            m.objects.dereference_address(view[member])
        view[member] = 0


@export("SeLockSubjectContext", args="ptr")
@export("SeUnlockSubjectContext", args="ptr")
def se_lock_subject_context(m: Machine, context: int) -> None:
    return None


def _subject(m: Machine, context: int) -> Token:
    view = layout("SECURITY_SUBJECT_CONTEXT", m.memory.pointer_size).at(m.memory, context)
    return _token(m, view["ClientToken"] or view["PrimaryToken"])


@export("SeQuerySubjectContextToken", args="ptr", since=(6, 0), modules=("ntoskrnl.exe",))
def se_query_subject_context_token(m: Machine, context: int) -> int:
    view = layout("SECURITY_SUBJECT_CONTEXT", m.memory.pointer_size).at(m.memory, context)
    return view["ClientToken"] or view["PrimaryToken"]


# -- checks ------------------------------------------------------------------------------------------------


@export("SeAccessCheck", args="ptr, ptr, uchar, ulong, ulong, ptr, ptr, uchar, ptr, ptr")
def se_access_check(
    m: Machine,
    descriptor: int,
    context: int,
    locked: int,
    desired: int,
    previous: int,
    privileges: int,
    mapping: int,
    mode: int,
    granted_out: int,
    status_out: int,
) -> int:
    """TRUE when access is granted. A NULL descriptor denies; kernel mode is always granted."""
    need_irql(m, 0, "SeAccessCheck", "nf-wdm-seaccesscheck")
    generic = GenericMapping(*struct.unpack("<4I", m.memory.read(mapping, 16)))
    if privileges:
        m.memory.put_ptr(privileges, 0)
    if not mode & 0xFF:
        wanted = generic.apply(desired)
        granted = (generic.all if wanted & 0x02000000 else 0) | wanted & ~0x02000000 | previous
        m.memory.put_u32(granted_out, granted)
        m.memory.put_u32(status_out, NTSTATUS.SUCCESS)
        return 1
    if not descriptor:
        m.memory.put_u32(status_out, NTSTATUS.ACCESS_DENIED)
        return 0
    try:
        parsed = SecurityDescriptor.decode(capture_descriptor(m, descriptor))
    except SecurityError:
        m.memory.put_u32(status_out, NTSTATUS.INVALID_SECURITY_DESCR)
        return 0
    status, granted = access_check(parsed, _subject(m, context), desired, generic)
    m.memory.put_u32(granted_out, granted | previous if not status else 0)
    m.memory.put_u32(status_out, status)
    return int(status == NTSTATUS.SUCCESS)


@export("SeFreePrivileges", args="ptr")
def se_free_privileges(m: Machine, privileges: int) -> None:
    return None


@export("SeSinglePrivilegeCheck", args="ulonglong, uchar")
def se_single_privilege_check(m: Machine, luid: int, mode: int) -> int:
    need_irql(m, 0, "SeSinglePrivilegeCheck", "nf-ntddk-sesingleprivilegecheck")
    if not mode & 0xFF:
        return 1
    name = _PRIVILEGES.get(luid & 0xFFFFFFFF)
    return int(name is not None and token_of(m).has(name))


@export("SePrivilegeCheck", args="ptr, ptr, uchar")
def se_privilege_check(m: Machine, required: int, context: int, mode: int) -> int:
    """PRIVILEGE_SET: count, control (1: all necessary), then LUID and attributes each."""
    if not mode & 0xFF:
        return 1
    count, control = m.memory.u32(required), m.memory.u32(required + 4)
    token = _subject(m, context)
    held = 0
    for index in range(count):
        at = required + 8 + 12 * index
        name = _PRIVILEGES.get(m.memory.u32(at))
        if name is not None and token.has(name):
            m.memory.put_u32(at + 8, 0x80000000)  # SE_PRIVILEGE_USED_FOR_ACCESS
            held += 1
    return int(held == count if control & 1 else held > 0)


@export("SeTokenIsAdmin", args="ptr")
def se_token_is_admin(m: Machine, token: int) -> int:
    return int(_token(m, token).holds(ADMINISTRATORS))


@export("SeTokenIsRestricted", args="ptr")
def se_token_is_restricted(m: Machine, token: int) -> int:
    _token(m, token)
    return 0


@export("SeTokenType", args="ptr")
def se_token_type(m: Machine, token: int) -> int:
    _token(m, token)
    return 1  # TokenPrimary


@export("SeTokenImpersonationLevel", args="ptr")
def se_token_impersonation_level(m: Machine, token: int) -> int:
    return 2


@export("SeQueryAuthenticationIdToken", args="ptr, ptr")
def se_query_authentication_id_token(m: Machine, token: int, luid: int) -> int:
    m.memory.put_u64(luid, 0x3E7 if _token(m, token) is SYSTEM else 0x12345)
    return NTSTATUS.SUCCESS


@export("SeQuerySessionIdToken", args="ptr, ptr")
def se_query_session_id_token(m: Machine, token: int, out: int) -> int:
    m.memory.put_u32(out, 0)
    return NTSTATUS.SUCCESS


# -- token information -------------------------------------------------------------------------------------


def _token_information(m: Machine, token: Token, kind: int, base: int) -> bytes | None:
    """TOKEN_* structures as they lie at address `base`; None for a class the model has not."""
    pointer = "<Q" if m.memory.pointer_size == 8 else "<I"
    size = m.memory.pointer_size
    pair = 2 * size  # SID_AND_ATTRIBUTES

    def one(sid: Sid, attributes: int = 0) -> bytes:
        head = struct.pack(pointer, base + pair) + attributes.to_bytes(4, "little")
        return head.ljust(pair, b"\0") + sid.encode()

    if kind == _TOKEN_USER:
        return one(token.user)
    if kind == _TOKEN_INTEGRITY_LEVEL:
        level = 0x4000 if token is SYSTEM else 0x3000 if token.holds(ADMINISTRATORS) else 0x2000
        return one(Sid(16, (level,)), 0x60)
    if kind in (_TOKEN_OWNER, _TOKEN_PRIMARY_GROUP):
        sid = token.owner if kind == _TOKEN_OWNER else token.primary_group
        return struct.pack(pointer, base + size) + sid.encode()
    if kind == _TOKEN_GROUPS:
        groups = sorted(token.groups)
        at = size + pair * len(groups)
        head, tail = len(groups).to_bytes(4, "little").ljust(size, b"\0"), b""
        for sid in groups:
            head += (struct.pack(pointer, base + at + len(tail)) + (7).to_bytes(4, "little")).ljust(
                pair, b"\0"
            )
            tail += sid.encode()
        return head + tail
    if kind == _TOKEN_PRIVILEGES:
        luids = [luid for luid, name in _PRIVILEGES.items() if token.has(name)]
        return struct.pack("<I", len(luids)) + b"".join(struct.pack("<III", luid, 0, 3) for luid in luids)
    if kind == _TOKEN_TYPE:
        return struct.pack("<I", 1)
    if kind == _TOKEN_SESSION_ID:
        return struct.pack("<I", 0)
    if kind == _TOKEN_ELEVATION_TYPE:
        return struct.pack("<I", 1)
    if kind == _TOKEN_ELEVATION:
        return struct.pack("<I", int(token.holds(ADMINISTRATORS)))
    if kind == _TOKEN_STATISTICS:
        luid = 0x3E7 if token is SYSTEM else 0x12345
        return struct.pack(
            "<QQQIIIIIIQ", 0x1000, luid, 0x7FFFFFFFFFFFFFFF, 1, 0, 0, 0, len(token.groups), 0, 0
        )
    return None


@export("SeQueryInformationToken", args="ptr, ulong, ptr")
def se_query_information_token(m: Machine, address: int, kind: int, out: int) -> int:
    """Most classes come in pool the caller frees; session id and a few scalars in the pointer itself."""
    need_irql(m, 0, "SeQueryInformationToken", "nf-ntifs-sequeryinformationtoken")
    token = _token(m, address)
    size = len(_token_information(m, token, kind, 0) or b"")
    if not size:
        return NTSTATUS.INVALID_INFO_CLASS
    if kind in (_TOKEN_SESSION_ID, _TOKEN_ELEVATION_TYPE, _TOKEN_TYPE):
        raw = _token_information(m, token, kind, 0) or b""
        m.memory.put_u32(out, int.from_bytes(raw, "little"))
        return NTSTATUS.SUCCESS
    buffer = m.pool.alloc(size, _TAG, paged=True)
    m.memory.write(buffer, _token_information(m, token, kind, buffer) or b"")
    m.memory.put_ptr(out, buffer)
    return NTSTATUS.SUCCESS


@export("ZwQueryInformationToken", args="handle, ulong, ptr, ulong, ptr")
@export("NtQueryInformationToken", args="handle, ulong, ptr, ulong, ptr")
def zw_query_information_token(
    m: Machine, handle: int, kind: int, buffer: int, length: int, needed: int
) -> int:
    need_zw(m, "ZwQueryInformationToken")
    found = m.objects.resolve(handle, m.kernel.processes.token_type)
    if isinstance(found, int):
        return found
    raw = _token_information(m, found.body, kind, buffer)
    if raw is None:
        return NTSTATUS.INVALID_INFO_CLASS
    if needed:
        m.memory.put_u32(needed, len(raw))
    if length < len(raw):
        return NTSTATUS.BUFFER_TOO_SMALL
    m.memory.write(buffer, raw)
    return NTSTATUS.SUCCESS


def _open_token(m: Machine, token: KernelObject, access: int, attributes: int, out: int) -> int:
    table = m.objects.table_for(attributes)
    m.memory.put_ptr(out, m.objects.open_handle(token, access, table=table, attributes=attributes))
    return NTSTATUS.SUCCESS


@export("ZwOpenProcessTokenEx", args="handle, ulong, ulong, ptr")
@export("NtOpenProcessTokenEx", args="handle, ulong, ulong, ptr")
def zw_open_process_token_ex(m: Machine, process: int, access: int, attributes: int, out: int) -> int:
    need_zw(m, "ZwOpenProcessTokenEx")
    found = m.objects.resolve(process, m.kernel.processes.process_type)
    if isinstance(found, int):
        return found
    return _open_token(m, found.body.token_object, access, attributes, out)


@export("ZwOpenProcessToken", args="handle, ulong, ptr")
@export("NtOpenProcessToken", args="handle, ulong, ptr")
def zw_open_process_token(m: Machine, process: int, access: int, out: int) -> int:
    return zw_open_process_token_ex(m, process, access, 0, out)


@export("ZwOpenThreadTokenEx", args="handle, ulong, uchar, ulong, ptr")
@export("NtOpenThreadTokenEx", args="handle, ulong, uchar, ulong, ptr")
def zw_open_thread_token_ex(
    m: Machine, thread: int, access: int, as_self: int, attributes: int, out: int
) -> int:
    need_zw(m, "ZwOpenThreadTokenEx")
    found = m.objects.resolve(thread, m.kernel.processes.thread_type)
    if isinstance(found, int):
        return found
    if found.body.impersonating is None:
        return NTSTATUS.NO_TOKEN
    return _open_token(m, found.body.impersonating, access, attributes, out)


@export("ZwOpenThreadToken", args="handle, ulong, uchar, ptr")
def zw_open_thread_token(m: Machine, thread: int, access: int, as_self: int, out: int) -> int:
    return zw_open_thread_token_ex(m, thread, access, as_self, 0, out)


# -- descriptors -------------------------------------------------------------------------------------------


@export("SeCaptureSecurityDescriptor", args="ptr, uchar, ulong, uchar, ptr")
def se_capture_security_descriptor(
    m: Machine, descriptor: int, mode: int, pool: int, always: int, out: int
) -> int:
    need_irql(m, 0, "SeCaptureSecurityDescriptor", "nf-ntifs-secapturesecuritydescriptor")
    if not descriptor:
        m.memory.put_ptr(out, 0)
        return NTSTATUS.SUCCESS
    if not mode & 0xFF and not always & 0xFF:
        m.memory.put_ptr(out, descriptor)
        return NTSTATUS.SUCCESS
    raw = capture_descriptor(m, descriptor)
    buffer = m.pool.alloc(len(raw), _TAG, paged=bool(pool & 1))
    m.memory.write(buffer, raw)
    m.memory.put_ptr(out, buffer)
    return NTSTATUS.SUCCESS


@export("SeReleaseSecurityDescriptor", args="ptr, uchar, uchar")
def se_release_security_descriptor(m: Machine, descriptor: int, mode: int, always: int) -> int:
    if descriptor and (mode & 0xFF or always & 0xFF):
        m.pool.free(descriptor, None)
    return NTSTATUS.SUCCESS


@export("SeValidSecurityDescriptor", args="ulong, ptr")
def se_valid_security_descriptor(m: Machine, length: int, descriptor: int) -> int:
    try:
        SecurityDescriptor.decode(m.memory.read(descriptor, length))
    except SecurityError:
        return 0
    return 1


@export("SeConvertStringSecurityDescriptorToSecurityDescriptor", args="ptr, ulong, ptr, ptr", since=(10, 0))
def se_convert_string_sd(m: Machine, text: int, revision: int, out: int, size_out: int) -> int:
    """The kernel's ConvertStringSecurityDescriptorToSecurityDescriptor; revision 1 (SDDL_REVISION_1)."""
    if revision != 1:
        return NTSTATUS.UNKNOWN_REVISION
    try:
        raw = parse_sddl(read_wide_z(m.memory, text)).encode()
    except ValueError:
        return NTSTATUS.INVALID_PARAMETER
    buffer = m.pool.alloc(len(raw), _TAG, paged=True)
    m.memory.write(buffer, raw)
    m.memory.put_ptr(out, buffer)
    if size_out:
        m.memory.put_u32(size_out, len(raw))
    return NTSTATUS.SUCCESS


@export("SecLookupAccountSid", args="ptr, ptr, ptr, ptr, ptr, ptr", modules=("ksecdd.sys",))
def sec_lookup_account_sid(
    m: Machine, sid: int, name_size: int, name: int, domain_size: int, domain: int, use: int
) -> int:
    """The model has no account database."""
    m.kernel.debug.note("SecLookupAccountSid: the model has no account database, STATUS_NONE_MAPPED")
    return NTSTATUS.NONE_MAPPED
