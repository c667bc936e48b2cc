"""The configuration manager routines that filters import: Cm*.

Sources: nf-wdm-cmregistercallback(ex), nf-wdm-cmunregistercallback, nf-wdm-cmgetcallbackversion,
nf-wdm-cmsetcallbackobjectcontext, nf-wdm-cmcallbackgetkeyobjectid(ex),
nf-wdm-cmcallbackreleasekeyobjectidex, nf-wdm-cmgetboundtransaction. All run at APC_LEVEL or below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.filtering.engine import engine_of
from harness.reference.kernel.checks import APC_LEVEL, need_irql
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.filtering.keyobject import KeyObject
    from harness.reference.filtering.registration import Registration
    from harness.reference.machine import Machine

__all__: list[str] = []

_NAME_TAG: Final = int.from_bytes(b"CMkn", "little")
_INVALID_PARAMETER: Final = int(NTSTATUS.INVALID_PARAMETER)


def _register(m: Machine, routine: int, altitude: str | None, context: int, cookie_at: int, page: str) -> int:
    need_irql(m, APC_LEVEL, page.removeprefix("nf-wdm-"), page)
    engine = engine_of(m)
    owner = m.calling_driver()
    result = engine.stack.register(altitude, routine, context, owner)
    if result.registration is not None:
        m.memory.put_u64(cookie_at, result.registration.cookie)
    return result.status


@export("CmRegisterCallback", args="ptr, ptr, ptr")
def cm_register_callback(m: Machine, routine: int, context: int, cookie_at: int) -> int:
    return _register(m, routine, None, context, cookie_at, "nf-wdm-cmregistercallback")


@export("CmRegisterCallbackEx", args="ptr, ptr, ptr, ptr, ptr, ptr", since=(6, 0))
def cm_register_callback_ex(
    m: Machine, routine: int, altitude_at: int, driver: int, context: int, cookie_at: int, reserved: int
) -> int:
    """`driver` names the owner, `reserved` is NULL by documentation; neither decides anything."""
    altitude = m.memory.read_unicode(altitude_at)
    return _register(m, routine, altitude, context, cookie_at, "nf-wdm-cmregistercallbackex")


@export("CmUnRegisterCallback", args="ulonglong")
def cm_unregister_callback(m: Machine, cookie: int) -> int:
    need_irql(m, APC_LEVEL, "CmUnRegisterCallback", "nf-wdm-cmunregistercallback")
    return engine_of(m).stack.unregister(m.current.tid, cookie)


@export("CmGetCallbackVersion", args="ptr, ptr", since=(6, 0))
def cm_get_callback_version(m: Machine, major_at: int, minor_at: int) -> None:
    need_irql(m, APC_LEVEL, "CmGetCallbackVersion", "nf-wdm-cmgetcallbackversion")
    major, minor = m.version.callback_version
    if major_at:
        m.memory.put_u32(major_at, major)
    if minor_at:
        m.memory.put_u32(minor_at, minor)


def _by_cookie(m: Machine, cookie_at: int) -> Registration | None:
    """The registration a PLARGE_INTEGER names."""
    return m.registry.stack.find(m.memory.u64(cookie_at)) if cookie_at else None


def _key_at(m: Machine, address: int) -> KeyObject | None:
    """The key object a filter passes. What a create or open post leaves in Object where it is undefined
    must not come here (B-INF-14): that is the address of a freed or made-up object on Windows."""
    engine = m.registry
    if address == engine.undefined_object:
        m.bugcheck(
            0x50,
            address,
            0,
            m.cpu.current_pc(),
            2,
            reason="the undefined Object of a create or open post was given to a Cm routine",
        )
    return engine.keys.at(address) if address else None


@export("CmSetCallbackObjectContext", args="ptr, ptr, ptr, ptr", since=(6, 0))
def cm_set_callback_object_context(
    m: Machine, object_at: int, cookie_at: int, new_context: int, old_context_at: int
) -> int:
    """Failure statuses are not documented (B-CTX-17): STATUS_INVALID_PARAMETER for either argument."""
    need_irql(m, APC_LEVEL, "CmSetCallbackObjectContext", "nf-wdm-cmsetcallbackobjectcontext")
    registration, key = _by_cookie(m, cookie_at), _key_at(m, object_at)
    if registration is None or key is None or not registration.live or key.cleaned:
        return NTSTATUS.INVALID_PARAMETER
    old = engine_of(m).stack.bind(registration, key, new_context)
    if old_context_at:
        m.memory.put_ptr(old_context_at, old)
    return NTSTATUS.SUCCESS


@export("CmCallbackGetKeyObjectID", args="ptr, ptr, ptr, ptr", since=(6, 0))
def cm_callback_get_key_object_id(
    m: Machine, cookie_at: int, object_at: int, id_at: int, name_at: int
) -> int:
    """ObjectName points at the system's string, maybe from before a rename (B-INF-09, B-INF-10)."""
    need_irql(m, APC_LEVEL, "CmCallbackGetKeyObjectID", "nf-wdm-cmcallbackgetkeyobjectid")
    registration, key = _by_cookie(m, cookie_at), _key_at(m, object_at)
    if registration is None or key is None:
        return NTSTATUS.INVALID_PARAMETER
    if id_at:
        m.memory.put_ptr(id_at, key.key.object_id)
    if name_at:
        m.memory.put_ptr(name_at, engine_of(m).keys.cached_name(key))
    return NTSTATUS.SUCCESS


@export("CmCallbackGetKeyObjectIDEx", args="ptr, ptr, ptr, ptr, ulong", since=(6, 2))
def cm_callback_get_key_object_id_ex(
    m: Machine, cookie_at: int, object_at: int, id_at: int, name_at: int, flags: int
) -> int:
    """ObjectName receives a string in the calling driver's pool, which it must release (B-INF-12)."""
    need_irql(m, APC_LEVEL, "CmCallbackGetKeyObjectIDEx", "nf-wdm-cmcallbackgetkeyobjectidex")
    registration, key = _by_cookie(m, cookie_at), _key_at(m, object_at)
    if registration is None or key is None or flags:
        return _INVALID_PARAMETER
    memory = m.memory
    if id_at:
        memory.put_ptr(id_at, key.key.object_id)
    if name_at:
        try:
            address = m.registry.keys.pool_name(key, _NAME_TAG)
        except OverflowError:
            return NTSTATUS.NAME_TOO_LONG
        if not address:
            return NTSTATUS.INSUFFICIENT_RESOURCES
        memory.put_ptr(name_at, address)
    return 0


@export("CmCallbackReleaseKeyObjectIDEx", args="ptr", since=(6, 2))
def cm_callback_release_key_object_id_ex(m: Machine, name: int) -> None:
    """Releasing anything but a live name of CmCallbackGetKeyObjectIDEx is a bugcheck of the pool."""
    need_irql(m, APC_LEVEL, "CmCallbackReleaseKeyObjectIDEx", "nf-wdm-cmcallbackreleasekeyobjectidex")
    if name:
        m.pool.free(name, _NAME_TAG)


@export("CmGetBoundTransaction", args="ptr, ptr", since=(6, 0))
def cm_get_bound_transaction(m: Machine, cookie_at: int, object_at: int) -> int:
    """The transaction object, without a reference, or NULL (B-INF-15, B-INF-17)."""
    need_irql(m, APC_LEVEL, "CmGetBoundTransaction", "nf-wdm-cmgetboundtransaction")
    registration, key = _by_cookie(m, cookie_at), _key_at(m, object_at)
    if registration is None or key is None or key.transaction_object is None:
        return 0
    return key.transaction_object.address


@export("CmKeyObjectType", since=(6, 0), data=True)
def cm_key_object_type(m: Machine) -> int:
    cell = m.memory.alloc_static(8)
    m.memory.put_ptr(cell, engine_of(m).keys.type.address)
    return cell
