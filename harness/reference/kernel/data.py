"""Variables the kernel exports: object types, limits, build number, well-known security identifiers.

Each is asked for once a machine, when an import or a look-up first needs it. CmKeyObjectType is with the
registry, the Tm types with the transaction manager.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference.cm.security import Sid
from harness.reference.exports import export

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []


def _variable(m: Machine, value: int) -> int:
    """A pointer-sized variable."""
    address = m.memory.alloc_static(m.memory.pointer_size)
    m.memory.put_ptr(address, value)
    return address


def _type(m: Machine, name: str) -> int:
    return _variable(m, m.objects.types[name].address)


@export("PsProcessType", data=True)
def ps_process_type(m: Machine) -> int:
    return _type(m, "Process")


@export("PsThreadType", data=True)
def ps_thread_type(m: Machine) -> int:
    return _type(m, "Thread")


@export("IoFileObjectType", data=True)
def io_file_object_type(m: Machine) -> int:
    return _type(m, "File")


@export("IoDeviceObjectType", data=True)
def io_device_object_type(m: Machine) -> int:
    return _type(m, "Device")


@export("IoDriverObjectType", data=True)
def io_driver_object_type(m: Machine) -> int:
    return _type(m, "Driver")


@export("ExEventObjectType", data=True)
def ex_event_object_type(m: Machine) -> int:
    return _type(m, "Event")


@export("ExSemaphoreObjectType", data=True)
def ex_semaphore_object_type(m: Machine) -> int:
    return _type(m, "Semaphore")


@export("SeTokenObjectType", data=True)
def se_token_object_type(m: Machine) -> int:
    return _type(m, "Token")


@export("PsInitialSystemProcess", data=True)
def ps_initial_system_process(m: Machine) -> int:
    return _variable(m, m.kernel.processes.system.address)


@export("MmUserProbeAddress", data=True)
def mm_user_probe_address(m: Machine) -> int:
    return _variable(m, m.memory.map.user_limit - 0x10000)


@export("MmHighestUserAddress", data=True)
def mm_highest_user_address(m: Machine) -> int:
    return _variable(m, m.memory.map.user_limit - 0x10001)


@export("MmSystemRangeStart", data=True)
def mm_system_range_start(m: Machine) -> int:
    return _variable(m, m.memory.map.system_start)


@export("NtBuildNumber", data=True)
def nt_build_number(m: Machine) -> int:
    """The build with the free-build mark in the top bits."""
    return _variable(m, 0xF0000000 | m.version.build)


@export("KeNumberProcessors", data=True)
def ke_number_processors(m: Machine) -> int:
    return _variable(m, 1)


@export("KdDebuggerEnabled", data=True)
@export("InitSafeBootMode", data=True)
def zero_byte(m: Machine) -> int:
    return _variable(m, 0)


@export("KdDebuggerNotPresent", data=True)
def kd_debugger_not_present(m: Machine) -> int:
    return _variable(m, 1)


@export("KeTickCount", data=True, arches=("x86",))
def ke_tick_count(m: Machine) -> int:
    """x86 drivers read KSYSTEM_TIME through this import; it is the field of the shared page."""
    return m.memory.map.shared_data + 0x320


@export("NlsMbCodePageTag", data=True)
@export("NlsMbOemCodePageTag", data=True)
def nls_mb_code_page_tag(m: Machine) -> int:
    return _variable(m, 0)


# -- SeExports ---------------------------------------------------------------------------------------------

#: Privileges in the order of SE_EXPORTS (ntifs.h): their LUIDs.
_PRIVILEGES: Final = (2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 14, 11, 12, 13, 16, 17, 18, 19, 20, 21, 22, 23, 24)
_SIDS: Final = (
    "S-1-0-0",  # SeNullSid
    "S-1-1-0",  # SeWorldSid
    "S-1-2-0",  # SeLocalSid
    "S-1-3-0",  # SeCreatorOwnerSid
    "S-1-3-1",  # SeCreatorGroupSid
    "S-1-5",  # SeNtAuthoritySid
    "S-1-5-1",  # SeDialupSid
    "S-1-5-2",  # SeNetworkSid
    "S-1-5-3",  # SeBatchSid
    "S-1-5-4",  # SeInteractiveSid
    "S-1-5-18",  # SeLocalSystemSid
    "S-1-5-32-544",  # SeAliasAdminsSid
    "S-1-5-32-545",  # SeAliasUsersSid
    "S-1-5-32-546",  # SeAliasGuestsSid
    "S-1-5-32-547",  # SeAliasPowerUsersSid
    "S-1-5-32-548",  # SeAliasAccountOpsSid
    "S-1-5-32-549",  # SeAliasSystemOpsSid
    "S-1-5-32-550",  # SeAliasPrintOpsSid
    "S-1-5-32-551",  # SeAliasBackupOpsSid
    "S-1-5-11",  # SeAuthenticatedUsersSid
    "S-1-5-12",  # SeRestrictedSid
    "S-1-5-7",  # SeAnonymousLogonSid
)
_LATE_PRIVILEGES: Final = (25, 26)  # undock, sync agent
_LATER: Final = (27,)  # enable delegation
_LATE_SIDS: Final = ("S-1-5-19", "S-1-5-20")
_LAST_PRIVILEGES: Final = (28, 29, 30, 31, 32, 33, 34, 35)
_LAST_SIDS: Final = (
    "S-1-5-17",  # SeIUserSid
    "S-1-16-0",
    "S-1-16-4096",
    "S-1-16-8192",
    "S-1-16-12288",
    "S-1-16-16384",
    "S-1-3-4",  # SeOwnerRightsSid
)


def _sid(m: Machine, text: str) -> int:
    raw = bytes((1, 0, 0, 0, 0, 0, 0, 5)) if text == "S-1-5" else Sid.parse(text).encode()
    address = m.memory.alloc_static(len(raw))
    m.memory.write(address, raw)
    return address


@export("SeExports", data=True)
def se_exports(m: Machine) -> int:
    """SE_EXPORTS: privilege LUIDs, then SIDs, then the members later systems added."""
    pointer = "<Q" if m.memory.pointer_size == 8 else "<I"
    out = bytearray()
    for luid in _PRIVILEGES:
        out += struct.pack("<II", luid, 0)
    for text in _SIDS:
        out += struct.pack(pointer, _sid(m, text))
    out += bytes(-len(out) % 8) if m.memory.pointer_size == 8 else b""
    for luid in (*_LATE_PRIVILEGES, *_LATER):
        out += struct.pack("<II", luid, 0)
    for text in _LATE_SIDS:
        out += struct.pack(pointer, _sid(m, text))
    for luid in _LAST_PRIVILEGES:
        out += struct.pack("<II", luid, 0)
    for text in _LAST_SIDS:
        out += struct.pack(pointer, _sid(m, text))
    out = out.ljust(0x400, b"\0")
    address = m.memory.alloc_static(len(out))
    m.memory.write(address, bytes(out))
    return _variable(m, address)
