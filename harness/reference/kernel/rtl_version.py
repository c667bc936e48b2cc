"""Which Windows this is: RtlGetVersion, RtlVerifyVersionInfo, VerSetConditionMask, PsGetVersion.

Sources: nf-wdm-rtlgetversion, nf-wdm-rtlverifyversioninfo, nf-wdm-versetconditionmask, nf-ntddk-psgetversion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.text import wide_encode
from harness.registry.status import NTSTATUS
from harness.registry.version import WS03, WS2022

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_SIZE: Final = 276
_SIZE_EX: Final = 284
_WORKSTATION: Final = 1
_SERVER: Final = 3

# VER_* bits of the type mask and where the field lies in RTL_OSVERSIONINFOEXW: (offset, size).
_MAJOR, _MINOR, _BUILD = 0x2, 0x1, 0x4
_FIELDS: Final = {
    0x0001: (8, 4),  # VER_MINORVERSION
    0x0002: (4, 4),  # VER_MAJORVERSION
    0x0004: (12, 4),  # VER_BUILDNUMBER
    0x0008: (16, 4),  # VER_PLATFORMID
    0x0010: (278, 2),  # VER_SERVICEPACKMINOR
    0x0020: (276, 2),  # VER_SERVICEPACKMAJOR
    0x0040: (280, 2),  # VER_SUITENAME
    0x0080: (282, 1),  # VER_PRODUCT_TYPE
}
_ORDER: Final = (0x0002, 0x0001, 0x0020, 0x0010)  # a whole version compares in this order
_EQUAL, _GREATER, _GREATER_EQUAL, _LESS, _LESS_EQUAL, _AND, _OR = range(1, 8)


def is_server(m: Machine) -> bool:
    return m.version in (WS03, WS2022)


def version_record(m: Machine) -> bytes:
    """RTL_OSVERSIONINFOEXW of this machine without its size member filled."""
    version = m.version
    text = f"Service Pack {version.service_pack}" if version.service_pack else ""
    out = bytearray(_SIZE_EX)
    out[4:8] = version.major.to_bytes(4, "little")
    out[8:12] = version.minor.to_bytes(4, "little")
    out[12:16] = version.build.to_bytes(4, "little")
    out[16:20] = (2).to_bytes(4, "little")  # VER_PLATFORM_WIN32_NT
    raw = wide_encode(text)
    out[20 : 20 + len(raw)] = raw
    out[276:278] = version.service_pack.to_bytes(2, "little")
    out[280:282] = (0x110 if is_server(m) else 0x100).to_bytes(2, "little")  # single user terminal services
    out[282] = _SERVER if is_server(m) else _WORKSTATION
    return bytes(out)


@export("RtlGetVersion", args="ptr")
def rtl_get_version(m: Machine, out: int) -> int:
    size = m.memory.u32(out)
    raw = version_record(m)
    m.memory.write(out + 4, raw[4 : _SIZE_EX if size == _SIZE_EX else _SIZE])
    return NTSTATUS.SUCCESS


@export("VerSetConditionMask", args="ulonglong, ulong, uchar", returns="ulonglong")
def ver_set_condition_mask(m: Machine, mask: int, kind: int, condition: int) -> int:
    """Three bits a field; the highest field of the type mask counts, as the page's macro does it."""
    for bit in range(7, -1, -1):
        if kind & (1 << bit):
            return mask | (condition & 7) << (bit * 3)
    return mask


def _compare(value: int, wanted: int, condition: int) -> bool:
    return {
        _EQUAL: value == wanted,
        _GREATER: value > wanted,
        _GREATER_EQUAL: value >= wanted,
        _LESS: value < wanted,
        _LESS_EQUAL: value <= wanted,
        _AND: value & wanted == wanted,
        _OR: value & wanted != 0,
    }.get(condition, False)


@export("RtlVerifyVersionInfo", args="ptr, ulong, ulonglong")
def rtl_verify_version_info(m: Machine, wanted: int, kinds: int, mask: int) -> int:
    """STATUS_REVISION_MISMATCH when this Windows does not meet the conditions."""
    if not kinds or not mask:
        return NTSTATUS.INVALID_PARAMETER
    mine = version_record(m)

    def field(raw: bytes, kind: int) -> int:
        at, size = _FIELDS[kind]
        return int.from_bytes(raw[at : at + size], "little")

    theirs = m.memory.read(wanted, _SIZE_EX if kinds & 0xF0 else _SIZE).ljust(_SIZE_EX, b"\0")

    def condition_of(kind: int) -> int:
        return mask >> ((kind.bit_length() - 1) * 3) & 7

    ordered = [kind for kind in _ORDER if kinds & kind]
    if ordered:
        # Major, minor and service pack form one number: a later part counts while the earlier ones are equal.
        condition = condition_of(ordered[0])
        ours = [field(mine, kind) for kind in ordered]
        given = [field(theirs, kind) for kind in ordered]
        if condition == _EQUAL:
            fits = all(_compare(a, b, condition_of(k)) for k, a, b in zip(ordered, ours, given, strict=True))
        else:
            fits = {
                _GREATER: ours > given,
                _GREATER_EQUAL: ours >= given,
                _LESS: ours < given,
                _LESS_EQUAL: ours <= given,
            }.get(condition, False)
        if not fits:
            return NTSTATUS.REVISION_MISMATCH
    for kind in (0x0004, 0x0008, 0x0040, 0x0080):
        if kinds & kind and not _compare(field(mine, kind), field(theirs, kind), condition_of(kind)):
            return NTSTATUS.REVISION_MISMATCH
    return NTSTATUS.SUCCESS


@export("PsGetVersion", args="ptr, ptr, ptr, ptr")
def ps_get_version(m: Machine, major: int, minor: int, build: int, csd: int) -> int:
    for address, value in ((major, m.version.major), (minor, m.version.minor), (build, m.version.build)):
        if address:
            m.memory.put_u32(address, value)
    if csd:
        m.memory.put_u16(csd, 0)
    return 0  # FALSE: a free build


@export("RtlIsNtDdiVersionAvailable", args="ulong", since=(6, 0))
def rtl_is_nt_ddi_version_available(m: Machine, version: int) -> int:
    if version & 0xFFFF:
        return 0  # service pack bits must not be given
    ours = m.version.major << 24 | m.version.minor << 16
    return int(ours >= version)


@export("RtlIsServicePackVersionInstalled", args="ulong", since=(6, 0))
def rtl_is_service_pack_version_installed(m: Machine, version: int) -> int:
    ours = m.version.major << 24 | m.version.minor << 16
    return int(version & 0xFFFF0000 == ours and m.version.service_pack << 8 >= version & 0xFF00)


@export("IoIsWdmVersionAvailable", args="uchar, uchar")
def io_is_wdm_version_available(m: Machine, major: int, minor: int) -> int:
    """XP is WDM 1.0x20, Server 2003 1.0x30, Vista and everything later 6.0
    (nf-wdm-ioiswdmversionavailable)."""
    number = (m.version.major, m.version.minor)
    have = (1, 0x20) if number == (5, 1) else (1, 0x30) if number == (5, 2) else (6, 0)
    return int((major & 0xFF, minor & 0xFF) <= have)


@export("ExIsProcessorFeaturePresent", args="ulong")
def ex_is_processor_feature_present(m: Machine, feature: int) -> int:
    """PF_COMPARE_EXCHANGE_DOUBLE, MMX, XMMI, RDTSC, PAE, XMMI64, NX, SSE3, CMPXCHG16B."""
    return int(feature in (2, 3, 6, 8, 9, 10, 12, 13, 14))
