"""Routines of other modules than the kernel and the filter manager: network, code integrity, trace recorder.

See `harness.reference.kernel.declined`. Signatures: wsk.h, fwpmk.h, fwpsk.h, the linker's view of ci.dll.
"""

from __future__ import annotations

from harness.reference.kernel.declined import decline

__all__: list[str] = []

decline(
    """
status WskRegister ptr ptr
void WskDeregister ptr
status WskCaptureProviderNPI ptr ulong ptr
void WskReleaseProviderNPI ptr
status WskQueryProviderCharacteristics ptr ptr
""",
    why="there is no network here",
    modules=("netio.sys",),
    since=(6, 0),
)
decline(
    """
status FwpmEngineOpen0 ptr ulong ptr ptr ptr
status FwpmEngineClose0 handle
status FwpmTransactionBegin0 handle ulong
status FwpmTransactionCommit0 handle
status FwpmTransactionAbort0 handle
status FwpmProviderAdd0 handle ptr ptr
status FwpmSubLayerAdd0 handle ptr ptr
status FwpmSubLayerDeleteByKey0 handle ptr
status FwpmCalloutAdd0 handle ptr ptr ptr
status FwpmCalloutDeleteById0 handle ulong
status FwpmCalloutDeleteByKey0 handle ptr
status FwpmFilterAdd0 handle ptr ptr ptr
status FwpmFilterDeleteById0 handle ulonglong
status FwpmFilterDeleteByKey0 handle ptr
void FwpmFreeMemory0 ptr
status FwpsCalloutRegister0 ptr ptr ptr
status FwpsCalloutRegister1 ptr ptr ptr
status FwpsCalloutRegister2 ptr ptr ptr
status FwpsCalloutRegister3 ptr ptr ptr
status FwpsCalloutUnregisterById0 ulong
status FwpsCalloutUnregisterByKey0 ptr
status FwpsInjectionHandleCreate0 ushort ulong ptr
status FwpsInjectionHandleDestroy0 handle
""",
    why="there is no network here",
    modules=("fwpkclnt.sys",),
    since=(6, 0),
)
decline(
    """
void WppAutoLogStart ptr ptr ptr
void WppAutoLogStop ptr ptr
""",
    why="nothing records traces here",
    modules=("wpprecorder.sys",),
    since=(6, 2),
)
