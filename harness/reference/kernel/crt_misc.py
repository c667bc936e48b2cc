"""The rest of the C runtime: character classes, sorting, random numbers; and the bit maps of the run-time
library.

Sources: C runtime reference of each routine, nf-wdm-rtlinitializebitmap and its siblings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.exports import export
from harness.reference.kernel.text import downcase, upcase_unit

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []


@export("tolower", args="ulong", cc="cdecl")
def crt_tolower(m: Machine, char: int) -> int:
    return char + 32 if 0x41 <= char <= 0x5A else char


@export("toupper", args="ulong", cc="cdecl")
def crt_toupper(m: Machine, char: int) -> int:
    return char - 32 if 0x61 <= char <= 0x7A else char


@export("towlower", args="ushort", cc="cdecl")
def crt_towlower(m: Machine, unit: int) -> int:
    return unit if 0xD800 <= unit <= 0xDFFF else ord(downcase(chr(unit)))


@export("towupper", args="ushort", cc="cdecl")
def crt_towupper(m: Machine, unit: int) -> int:
    return upcase_unit(unit)


def _class(char: int, test: str) -> int:
    return int(char < 0x80 and bool(getattr(chr(char), test)()))


@export("isdigit", args="ulong", cc="cdecl")
@export("iswdigit", args="ushort", cc="cdecl")
def crt_isdigit(m: Machine, char: int) -> int:
    return _class(char, "isdigit")


@export("isalpha", args="ulong", cc="cdecl")
@export("iswalpha", args="ushort", cc="cdecl")
def crt_isalpha(m: Machine, char: int) -> int:
    return _class(char, "isalpha")


@export("isalnum", args="ulong", cc="cdecl")
@export("iswalnum", args="ushort", cc="cdecl")
def crt_isalnum(m: Machine, char: int) -> int:
    return _class(char, "isalnum")


@export("isspace", args="ulong", cc="cdecl")
@export("iswspace", args="ushort", cc="cdecl")
def crt_isspace(m: Machine, char: int) -> int:
    return int(char == 32 or 9 <= char <= 13)


@export("isupper", args="ulong", cc="cdecl")
def crt_isupper(m: Machine, char: int) -> int:
    return int(0x41 <= char <= 0x5A)


@export("islower", args="ulong", cc="cdecl")
def crt_islower(m: Machine, char: int) -> int:
    return int(0x61 <= char <= 0x7A)


@export("isprint", args="ulong", cc="cdecl")
def crt_isprint(m: Machine, char: int) -> int:
    return int(0x20 <= char < 0x7F)


@export("isxdigit", args="ulong", cc="cdecl")
@export("iswxdigit", args="ushort", cc="cdecl")
def crt_isxdigit(m: Machine, char: int) -> int:
    return int(char < 0x80 and chr(char) in "0123456789abcdefABCDEF")


@export("rand", args="", cc="cdecl")
def crt_rand(m: Machine) -> int:
    """The generator of the Microsoft runtime, seeded with 1."""
    m.kernel.random_state = (m.kernel.random_state * 214013 + 2531011) & 0xFFFFFFFF
    return m.kernel.random_state >> 16 & 0x7FFF


@export("srand", args="ulong", cc="cdecl")
def crt_srand(m: Machine, seed: int) -> None:
    m.kernel.random_state = seed


@export("abs", args="long", cc="cdecl")
def crt_abs(m: Machine, value: int) -> int:
    return abs(value)


@export("qsort", args="ptr, size, size, ptr", cc="cdecl")
def crt_qsort(m: Machine, base: int, count: int, size: int, compare: int) -> None:
    """The driver's compare routine sees copies in kernel memory, as it may see them anywhere in the array."""
    if count < 2 or not size:
        return
    items = [m.memory.read(base + i * size, size) for i in range(count)]
    with m.memory.scratch() as scratch:
        left, right = scratch.alloc(size), scratch.alloc(size)

        def less(a: bytes, b: bytes) -> bool:
            m.memory.write(left, a)
            m.memory.write(right, b)
            return bool(m.cpu.call(compare, left, right) & 0x80000000)

        for index in range(1, count):
            item = items[index]
            low, high = 0, index
            while low < high:
                middle = (low + high) // 2
                if less(item, items[middle]):
                    high = middle
                else:
                    low = middle + 1
            items.insert(low, items.pop(index))
    m.memory.write(base, b"".join(items))


@export("bsearch", args="ptr, ptr, size, size, ptr", cc="cdecl")
def crt_bsearch(m: Machine, key: int, base: int, count: int, size: int, compare: int) -> int:
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        at = base + middle * size & m.memory.map.address_mask
        result = m.cpu.call(compare, key, at) & 0xFFFFFFFF
        if result == 0:
            return at
        if result & 0x80000000:
            high = middle
        else:
            low = middle + 1
    return 0


# -- bit maps: RTL_BITMAP { SizeOfBitMap, Buffer } -----------------------------------------------------------


def _bits(m: Machine, bitmap: int) -> tuple[int, int, bytearray]:
    size = m.memory.u32(bitmap)
    buffer = m.memory.ptr(bitmap + m.memory.pointer_size)
    return size, buffer, bytearray(m.memory.read(buffer, -(-size // 32) * 4))


@export("RtlInitializeBitMap", args="ptr, ptr, ulong")
def rtl_initialize_bit_map(m: Machine, bitmap: int, buffer: int, size: int) -> None:
    m.memory.put_u32(bitmap, size)
    m.memory.put_ptr(bitmap + m.memory.pointer_size, buffer)


def _fill(m: Machine, bitmap: int, start: int, count: int, value: bool) -> None:
    """As the real routines it trusts its caller: bits beyond the map are memory like any other."""
    if not count:
        return
    buffer = m.memory.ptr(bitmap + m.memory.pointer_size)
    first, last = buffer + (start >> 3), buffer + (start + count - 1 >> 3)
    whole = 0xFF if value else 0
    low, high = 0xFF << (start & 7) & 0xFF, 0xFF >> (7 - (start + count - 1 & 7))
    m.memory.fill(first + 1, max(last - first - 1, 0), whole)
    for at, mask in ((first, low & high), (last, 0)) if first == last else ((first, low), (last, high)):
        m.memory.put_u8(at, m.memory.u8(at) & ~mask | whole & mask)


@export("RtlSetAllBits", args="ptr")
def rtl_set_all_bits(m: Machine, bitmap: int) -> None:
    _size, buffer, raw = _bits(m, bitmap)
    m.memory.write(buffer, b"\xff" * len(raw))


@export("RtlClearAllBits", args="ptr")
def rtl_clear_all_bits(m: Machine, bitmap: int) -> None:
    _size, buffer, raw = _bits(m, bitmap)
    m.memory.write(buffer, bytes(len(raw)))


@export("RtlSetBits", args="ptr, ulong, ulong")
def rtl_set_bits(m: Machine, bitmap: int, start: int, count: int) -> None:
    _fill(m, bitmap, start, count, True)


@export("RtlClearBits", args="ptr, ulong, ulong")
def rtl_clear_bits(m: Machine, bitmap: int, start: int, count: int) -> None:
    _fill(m, bitmap, start, count, False)


@export("RtlSetBit", args="ptr, ulong")
def rtl_set_bit(m: Machine, bitmap: int, bit: int) -> None:
    _fill(m, bitmap, bit, 1, True)


@export("RtlClearBit", args="ptr, ulong")
def rtl_clear_bit(m: Machine, bitmap: int, bit: int) -> None:
    _fill(m, bitmap, bit, 1, False)


@export("RtlTestBit", args="ptr, ulong")
def rtl_test_bit(m: Machine, bitmap: int, bit: int) -> int:
    buffer = m.memory.ptr(bitmap + m.memory.pointer_size)
    return m.memory.u8(buffer + (bit >> 3)) >> (bit & 7) & 1


@export("RtlNumberOfSetBits", args="ptr")
def rtl_number_of_set_bits(m: Machine, bitmap: int) -> int:
    size, _buffer, raw = _bits(m, bitmap)
    return sum(raw[bit >> 3] >> (bit & 7) & 1 for bit in range(size))


@export("RtlNumberOfClearBits", args="ptr")
def rtl_number_of_clear_bits(m: Machine, bitmap: int) -> int:
    return m.memory.u32(bitmap) - rtl_number_of_set_bits(m, bitmap)


def _find(m: Machine, bitmap: int, count: int, hint: int, wanted: int) -> int:
    size, _buffer, raw = _bits(m, bitmap)
    for start in (hint if hint < size else 0, 0):
        run = 0
        for bit in range(start, size):
            run = run + 1 if raw[bit >> 3] >> (bit & 7) & 1 == wanted else 0
            if run == count:
                return bit - count + 1
    return 0xFFFFFFFF


@export("RtlFindClearBits", args="ptr, ulong, ulong")
def rtl_find_clear_bits(m: Machine, bitmap: int, count: int, hint: int) -> int:
    return _find(m, bitmap, count, hint, 0)


@export("RtlFindSetBits", args="ptr, ulong, ulong")
def rtl_find_set_bits(m: Machine, bitmap: int, count: int, hint: int) -> int:
    return _find(m, bitmap, count, hint, 1)


@export("RtlFindClearBitsAndSet", args="ptr, ulong, ulong")
def rtl_find_clear_bits_and_set(m: Machine, bitmap: int, count: int, hint: int) -> int:
    at = _find(m, bitmap, count, hint, 0)
    if at != 0xFFFFFFFF:
        _fill(m, bitmap, at, count, True)
    return at
