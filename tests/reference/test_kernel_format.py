"""printf formatting with the Microsoft rules, over arguments in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from harness.guest import Arch
from harness.reference.exports import VarArgs
from harness.reference.kernel.crt_format import format_text
from harness.reference.kernel.rtl_numbers import parse_integer
from harness.reference.kernel.text import ansi_decode, downcase, upcase, upcase_unit
from harness.reference.machine import Machine
from harness.registry.version import WIN7, WIN10_22H2


@pytest.fixture(params=["x64", "x86"], scope="module")
def m(request: pytest.FixtureRequest) -> Iterator[Machine]:
    version = WIN10_22H2 if request.param == "x64" else WIN7
    with Machine(version, Arch(request.param)) as machine:
        yield machine


class Slots:
    """Builds a va_list in guest memory."""

    def __init__(self, m: Machine) -> None:
        self.m = m
        self.raw = b""
        self.text = ""

    def __call__(self, template: str, *args: object, wide: bool = False) -> str:
        """Format. An int is a slot, bytes an ANSI string, str a wide one, a float a double, (n,) 64 bits."""
        m = self.m
        with m.memory.scratch() as scratch:
            slots = b""
            for each in args:
                if isinstance(each, bytes):
                    slots += self.pointer(scratch.bytes(each + b"\0"))
                elif isinstance(each, str):
                    slots += self.pointer(scratch.bytes(each.encode("utf-16-le") + b"\0\0"))
                elif isinstance(each, float):
                    slots += struct.pack("<d", each)
                elif isinstance(each, tuple):
                    slots += struct.pack("<Q", each[0] & (1 << 64) - 1)
                else:
                    slots += self.pointer(int(str(each)))
            at = scratch.bytes(slots + bytes(64))
            return format_text(m.memory, template, VarArgs(m, at), wide=wide)

    def pointer(self, value: int) -> bytes:
        if self.m.memory.pointer_size == 8:
            return struct.pack("<Q", value & (1 << 64) - 1)
        return struct.pack("<I", value & (1 << 32) - 1)


@pytest.fixture
def f(m: Machine) -> Slots:
    return Slots(m)


@pytest.mark.parametrize(
    ("template", "args", "expected"),
    [
        ("%d %i", (-1, 42), "-1 42"),
        ("%u", (-1,), "4294967295"),
        ("%x|%X|%#x", (255, 255, 255), "ff|FF|0xff"),
        ("%08X|%-6d|%+d|% d", (0xBEEF, 7, 7, 7), "0000BEEF|7     |+7| 7"),
        ("%5.3d|%.0d|%o|%#o", (7, 0, 8, 8), "  007||10|010"),
        ("%hd %hu %hhx", (0x18000, 0x12345, 0x1FF), "-32768 9029 ff"),
        ("%I64d %I64x %llu", ((-5,), (0x123456789A,), (1 << 63,)), "-5 123456789a 9223372036854775808"),
        ("%I32d", (-3,), "-3"),
        ("%s|%10s|%-5s|%.2s", (b"abc", b"abc", b"abc", b"abc"), "abc|       abc|abc  |ab"),
        ("%S|%ws|%ls", ("wide", "w", "l"), "wide|w|l"),
        ("%hs", (b"narrow",), "narrow"),
        ("%c%C", (65, 0x42), "AB"),
        ("%*d|%-*d|%.*s", (5, 1, 4, 2, 2, b"xyz"), "    1|2   |xy"),
        ("%s", (0,), "(null)"),
        ("100%% %q", (), "100% q"),
        ("%f %.2e %g", (1.5, 12345.678, 0.25), "1.500000 1.23e+004 0.25"),
        ("%05.1f", (-2.25,), "-02.2"),
    ],
)
def test_formats(f: Slots, template: str, args: tuple[object, ...], expected: str) -> None:
    assert f(template, *args) == expected


def test_pointers_have_their_full_width(f: Slots) -> None:
    digits = f.m.memory.pointer_size * 2
    assert f("%p", 0xABC) == "ABC".rjust(digits, "0")


def test_size_t_follows_the_pointer(f: Slots) -> None:
    wide = f.m.memory.pointer_size == 8
    assert f("%Iu", (1 << 40) + 1 if wide else 5) == (str((1 << 40) + 1) if wide else "5")


def test_wide_functions_read_wide_strings(f: Slots) -> None:
    assert f("%s %S", "wide", b"narrow", wide=True) == "wide narrow"


def test_counted_strings_need_no_terminator(f: Slots) -> None:
    memory = f.m.memory
    with memory.scratch() as scratch:
        raw = "abcdef".encode("utf-16-le")
        string = scratch.alloc(memory.unicode_string_size)
        memory.put_unicode_string(string, 6, 12, scratch.bytes(raw))
        assert f("<%wZ>", string) == "<abc>"
        memory.put_unicode_string(string, 3, 4, scratch.bytes(b"xyzw"))
        assert f("<%Z>", string) == "<xyz>"
    assert f("%wZ", 0) == "(null)"


@pytest.mark.parametrize(
    ("text", "base", "value"),
    [
        ("42", 10, 42),
        ("  -1", 0, 0xFFFFFFFF),
        ("0x1F", 0, 31),
        ("0b101", 0, 5),
        ("0o17", 0, 15),
        ("1Fg", 16, 31),
        ("", 10, 0),
        ("9", 8, 0),
        ("1", 7, None),
    ],
)
def test_integers_from_text(text: str, base: int, value: int | None) -> None:
    assert parse_integer(text, base) == value


def test_case_maps_unit_by_unit() -> None:
    assert upcase("straße ﬁ ÿ") == "STRAßE ﬁ Ÿ"
    assert downcase("ÀÉ İ") == "àé İ"
    assert upcase_unit(0x0131) == 0x0131  # dotless i keeps away from ASCII
    assert upcase_unit(0xD800) == 0xD800


def test_every_ansi_byte_has_a_character() -> None:
    assert len(ansi_decode(bytes(range(256)))) == 256
