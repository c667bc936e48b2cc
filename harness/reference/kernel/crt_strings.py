"""The C runtime's string and memory routines that ntoskrnl exports.

Case follows the kernel's C locale for narrow text (ASCII) and for wcs routines (ASCII as well: the kernel's
towupper maps through the NLS table, see rtl_strings, while _wcsicmp lowers ASCII and Latin letters).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.exports import export
from harness.reference.kernel.text import downcase, read_ansi_z, read_wide_z, upcase_unit, wide_encode

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []


def _wide(m: Machine, address: int) -> bytes:
    return wide_encode(read_wide_z(m.memory, address))


def _units(raw: bytes) -> list[int]:
    return [raw[i] | raw[i + 1] << 8 for i in range(0, len(raw), 2)]


def _find_units(raw: bytes, wanted: bytes) -> int:
    """Byte offset of `wanted` in `raw` at a unit boundary, -1 when absent."""
    at = raw.find(wanted)
    while at >= 0 and at & 1:
        at = raw.find(wanted, at + 1)
    return at


def _sign(a: list[int] | bytes, b: list[int] | bytes) -> int:
    for left, right in zip(a, b, strict=False):
        if left != right:
            return -1 if left < right else 1
    return (len(a) > len(b)) - (len(a) < len(b))


def _lower_units(m: Machine, address: int, limit: int | None = None) -> list[int]:
    text = read_wide_z(m.memory, address) if limit is None else read_wide_z(m.memory, address, limit)
    return _units(wide_encode(downcase(text)))


# -- memory ------------------------------------------------------------------------------------------------


@export("memcpy", args="ptr, ptr, size", cc="cdecl")
def crt_memcpy(m: Machine, target: int, source: int, size: int) -> int:
    if size:
        m.memory.write(target, m.memory.read(source, size))
    return target


@export("memmove", args="ptr, ptr, size", cc="cdecl")
def crt_memmove(m: Machine, target: int, source: int, size: int) -> int:
    return crt_memcpy(m, target, source, size)


@export("memset", args="ptr, ulong, size", cc="cdecl")
def crt_memset(m: Machine, target: int, value: int, size: int) -> int:
    m.memory.fill(target, size, value & 0xFF)
    return target


@export("memcmp", args="ptr, ptr, size", cc="cdecl")
def crt_memcmp(m: Machine, first: int, second: int, size: int) -> int:
    return _sign(m.memory.read(first, size), m.memory.read(second, size)) if size else 0


@export("memchr", args="ptr, ulong, size", cc="cdecl")
def crt_memchr(m: Machine, address: int, value: int, size: int) -> int:
    at = m.memory.read(address, size).find(value & 0xFF) if size else -1
    return address + at if at >= 0 else 0


# -- narrow strings ----------------------------------------------------------------------------------------


@export("strlen", args="ptr", cc="cdecl")
def crt_strlen(m: Machine, text: int) -> int:
    return len(read_ansi_z(m.memory, text))


@export("strcmp", args="ptr, ptr", cc="cdecl")
def crt_strcmp(m: Machine, first: int, second: int) -> int:
    return _sign(read_ansi_z(m.memory, first), read_ansi_z(m.memory, second))


@export("strncmp", args="ptr, ptr, size", cc="cdecl")
def crt_strncmp(m: Machine, first: int, second: int, count: int) -> int:
    if not count:
        return 0
    return _sign(read_ansi_z(m.memory, first, count), read_ansi_z(m.memory, second, count))


@export("_stricmp", args="ptr, ptr", cc="cdecl")
def crt_stricmp(m: Machine, first: int, second: int) -> int:
    return _sign(read_ansi_z(m.memory, first).lower(), read_ansi_z(m.memory, second).lower())


@export("_strnicmp", args="ptr, ptr, size", cc="cdecl")
def crt_strnicmp(m: Machine, first: int, second: int, count: int) -> int:
    if not count:
        return 0
    return _sign(read_ansi_z(m.memory, first, count).lower(), read_ansi_z(m.memory, second, count).lower())


@export("strcpy", args="ptr, ptr", cc="cdecl")
def crt_strcpy(m: Machine, target: int, source: int) -> int:
    m.memory.write(target, read_ansi_z(m.memory, source) + b"\0")
    return target


@export("strncpy", args="ptr, ptr, size", cc="cdecl")
def crt_strncpy(m: Machine, target: int, source: int, count: int) -> int:
    if count:
        raw = read_ansi_z(m.memory, source, count)
        m.memory.write(target, raw)
        m.memory.fill(target + len(raw), count - len(raw))
    return target


@export("strcat", args="ptr, ptr", cc="cdecl")
def crt_strcat(m: Machine, target: int, source: int) -> int:
    m.memory.write(target + len(read_ansi_z(m.memory, target)), read_ansi_z(m.memory, source) + b"\0")
    return target


@export("strncat", args="ptr, ptr, size", cc="cdecl")
def crt_strncat(m: Machine, target: int, source: int, count: int) -> int:
    added = read_ansi_z(m.memory, source, count) if count else b""
    m.memory.write(target + len(read_ansi_z(m.memory, target)), added + b"\0")
    return target


@export("strchr", args="ptr, ulong", cc="cdecl")
def crt_strchr(m: Machine, text: int, char: int) -> int:
    at = (read_ansi_z(m.memory, text) + b"\0").find(char & 0xFF)
    return text + at if at >= 0 else 0


@export("strrchr", args="ptr, ulong", cc="cdecl")
def crt_strrchr(m: Machine, text: int, char: int) -> int:
    at = (read_ansi_z(m.memory, text) + b"\0").rfind(char & 0xFF)
    return text + at if at >= 0 else 0


@export("strstr", args="ptr, ptr", cc="cdecl")
def crt_strstr(m: Machine, text: int, wanted: int) -> int:
    at = read_ansi_z(m.memory, text).find(read_ansi_z(m.memory, wanted))
    return text + at if at >= 0 else 0


@export("_strlwr", args="ptr", cc="cdecl")
def crt_strlwr(m: Machine, text: int) -> int:
    m.memory.write(text, read_ansi_z(m.memory, text).lower() + b"\0")
    return text


@export("_strupr", args="ptr", cc="cdecl")
def crt_strupr(m: Machine, text: int) -> int:
    m.memory.write(text, read_ansi_z(m.memory, text).upper() + b"\0")
    return text


# -- wide strings ------------------------------------------------------------------------------------------


@export("wcslen", args="ptr", cc="cdecl")
def crt_wcslen(m: Machine, text: int) -> int:
    return len(_wide(m, text)) // 2


@export("wcsnlen", args="ptr, size", cc="cdecl", since=(6, 0))
def crt_wcsnlen(m: Machine, text: int, limit: int) -> int:
    return len(wide_encode(read_wide_z(m.memory, text, limit))) // 2 if limit else 0


@export("strnlen", args="ptr, size", cc="cdecl", since=(6, 0))
def crt_strnlen(m: Machine, text: int, limit: int) -> int:
    return len(read_ansi_z(m.memory, text, limit)) if limit else 0


@export("wcscmp", args="ptr, ptr", cc="cdecl")
def crt_wcscmp(m: Machine, first: int, second: int) -> int:
    return _sign(_units(_wide(m, first)), _units(_wide(m, second)))


@export("wcsncmp", args="ptr, ptr, size", cc="cdecl")
def crt_wcsncmp(m: Machine, first: int, second: int, count: int) -> int:
    if not count:
        return 0
    a = _units(wide_encode(read_wide_z(m.memory, first, count)))
    return _sign(a, _units(wide_encode(read_wide_z(m.memory, second, count))))


@export("_wcsicmp", args="ptr, ptr", cc="cdecl")
def crt_wcsicmp(m: Machine, first: int, second: int) -> int:
    return _sign(_lower_units(m, first), _lower_units(m, second))


@export("_wcsnicmp", args="ptr, ptr, size", cc="cdecl")
def crt_wcsnicmp(m: Machine, first: int, second: int, count: int) -> int:
    return _sign(_lower_units(m, first, count), _lower_units(m, second, count)) if count else 0


@export("wcscpy", args="ptr, ptr", cc="cdecl")
def crt_wcscpy(m: Machine, target: int, source: int) -> int:
    m.memory.write(target, _wide(m, source) + b"\0\0")
    return target


@export("wcsncpy", args="ptr, ptr, size", cc="cdecl")
def crt_wcsncpy(m: Machine, target: int, source: int, count: int) -> int:
    if count:
        raw = wide_encode(read_wide_z(m.memory, source, count))
        m.memory.write(target, raw)
        m.memory.fill(target + len(raw), count * 2 - len(raw))
    return target


@export("wcscat", args="ptr, ptr", cc="cdecl")
def crt_wcscat(m: Machine, target: int, source: int) -> int:
    m.memory.write(target + len(_wide(m, target)), _wide(m, source) + b"\0\0")
    return target


@export("wcsncat", args="ptr, ptr, size", cc="cdecl")
def crt_wcsncat(m: Machine, target: int, source: int, count: int) -> int:
    added = wide_encode(read_wide_z(m.memory, source, count)) if count else b""
    m.memory.write(target + len(_wide(m, target)), added + b"\0\0")
    return target


@export("wcschr", args="ptr, ushort", cc="cdecl")
def crt_wcschr(m: Machine, text: int, char: int) -> int:
    at = _find_units(_wide(m, text) + b"\0\0", (char & 0xFFFF).to_bytes(2, "little"))
    return text + at if at >= 0 else 0


@export("wcsrchr", args="ptr, ushort", cc="cdecl")
def crt_wcsrchr(m: Machine, text: int, char: int) -> int:
    values = [*_units(_wide(m, text)), 0]
    for index in range(len(values) - 1, -1, -1):
        if values[index] == char & 0xFFFF:
            return text + index * 2
    return 0


@export("wcsstr", args="ptr, ptr", cc="cdecl")
def crt_wcsstr(m: Machine, text: int, wanted: int) -> int:
    at = _find_units(_wide(m, text), _wide(m, wanted))
    return text + at if at >= 0 else 0


@export("wcsspn", args="ptr, ptr", cc="cdecl")
def crt_wcsspn(m: Machine, text: int, accepted: int) -> int:
    allowed = set(_units(_wide(m, accepted)))
    values = _units(_wide(m, text))
    return next((i for i, unit in enumerate(values) if unit not in allowed), len(values))


@export("wcscspn", args="ptr, ptr", cc="cdecl")
def crt_wcscspn(m: Machine, text: int, refused: int) -> int:
    stops = set(_units(_wide(m, refused)))
    values = _units(_wide(m, text))
    return next((i for i, unit in enumerate(values) if unit in stops), len(values))


@export("_wcslwr", args="ptr", cc="cdecl")
def crt_wcslwr(m: Machine, text: int) -> int:
    m.memory.write(text, wide_encode(downcase(read_wide_z(m.memory, text))) + b"\0\0")
    return text


@export("_wcsupr", args="ptr", cc="cdecl")
def crt_wcsupr(m: Machine, text: int) -> int:
    units = [upcase_unit(unit) for unit in _units(_wide(m, text))]
    m.memory.write(text, b"".join(unit.to_bytes(2, "little") for unit in units) + b"\0\0")
    return text
