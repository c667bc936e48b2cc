"""Client security: a thread's token kept and taken on later.

Sources: nf-ntifs-secreateclientsecurity, nf-ntifs-seimpersonateclientex, ns-ntifs-_security_client_context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import need_irql
from harness.reference.kernel.objects import KernelObject
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_QOS_SIZE: Final = 12  # SECURITY_QUALITY_OF_SERVICE, a copy of which begins the context


def _token_at(m: Machine) -> int:
    """Offset of ClientToken in SECURITY_CLIENT_CONTEXT."""
    return -(-_QOS_SIZE // m.memory.pointer_size) * m.memory.pointer_size


def _capture(m: Machine, token: KernelObject, qos: int, context: int) -> int:
    m.objects.reference(token)
    at = _token_at(m)
    m.memory.write(context, bytes(at + m.memory.pointer_size + 4))
    m.memory.write(context, m.memory.read(qos, _QOS_SIZE))
    m.memory.put_ptr(context + at, token.address)
    return NTSTATUS.SUCCESS


@export("SeCreateClientSecurity", args="ptr, ptr, uchar, ptr")
def se_create_client_security(m: Machine, thread: int, qos: int, remote: int, context: int) -> int:
    """The token the thread acts with; the driver drops the reference with SeDeleteClientSecurity."""
    need_irql(m, 0, "SeCreateClientSecurity", "nf-ntifs-secreateclientsecurity")
    found = m.kernel.processes.thread_at(thread)
    if found is None:
        return NTSTATUS.INVALID_PARAMETER
    return _capture(m, found.body.impersonating or found.process.body.token_object, qos, context)


@export("SeCreateClientSecurityFromSubjectContext", args="ptr, ptr, uchar, ptr")
def se_create_client_security_from_subject_context(
    m: Machine, subject: int, qos: int, remote: int, context: int
) -> int:
    """SECURITY_SUBJECT_CONTEXT: the client's token, its level, then the primary one."""
    size = m.memory.pointer_size
    address = m.memory.ptr(subject) or m.memory.ptr(subject + 2 * size)
    token = m.objects.at(address)
    if token is None or token.type is not m.kernel.processes.token_type:
        return NTSTATUS.INVALID_PARAMETER
    return _capture(m, token, qos, context)


@export("SeImpersonateClientEx", args="ptr, ptr")
def se_impersonate_client_ex(m: Machine, context: int, thread: int) -> int:
    """`thread` NULL is the current one; PsRevertToSelf ends it."""
    token = m.objects.at(m.memory.ptr(context + _token_at(m)))
    found = m.kernel.processes.thread_at(thread) if thread else m.current
    if token is None or token.type is not m.kernel.processes.token_type or found is None:
        return NTSTATUS.INVALID_PARAMETER
    found.body.impersonating = token
    return NTSTATUS.SUCCESS


@export("SeImpersonateClient", args="ptr, ptr")
def se_impersonate_client(m: Machine, context: int, thread: int) -> None:
    se_impersonate_client_ex(m, context, thread)


@export("SeTokenIsWriteRestricted", args="ptr", since=(6, 0))
def se_token_is_write_restricted(m: Machine, token: int) -> int:
    return 0
