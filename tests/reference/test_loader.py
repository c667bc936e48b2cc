"""The loader: hostile images, placement, binding, protection, unloading."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import DriverRefusedError, GuestCrashed
from harness.guest import Arch
from harness.reference.machine import Machine
from harness.reference.memory import EXECUTE, READ
from harness.reference.pe import INVALID_IMAGE_FORMAT, parse
from harness.registry.version import WIN10_22H2, XP, WindowsVersion
from tests.reference.native import BOTH, Seh, built, machine

CONFLICTING_ADDRESSES = 0xC0000018
ENTRYPOINT_NOT_FOUND = 0xC0000263


def image(arch: Arch = Arch.X64) -> bytearray:
    return bytearray(built("seh", arch).image.read_bytes())


def header(data: bytearray) -> int:
    """Offset of the optional header."""
    return int(struct.unpack_from("<I", data, 0x3C)[0]) + 24


def directory(data: bytearray, index: int) -> int:
    """Offset of a data directory's entry."""
    wide = struct.unpack_from("<H", data, header(data))[0] == 0x20B
    return header(data) + (112 if wide else 96) + 8 * index


def renamed(data: bytearray, name: bytes, other: bytes) -> None:
    """Put `other`, no longer than `name`, in the place of a module's or an import's name."""
    at = data.index(name + b"\0")
    data[at : at + len(name)] = other.ljust(len(name), b"\0")


def refused(data: bytes, arch: Arch = Arch.X64, version: WindowsVersion = WIN10_22H2) -> DriverRefusedError:
    with machine(arch, version) as m:
        before = m.memory.free_pages()
        with pytest.raises(DriverRefusedError) as caught:
            m.loader.load(bytes(data), "bad.sys")
        assert len(m.modules) == 0
        assert m.memory.free_pages() == before
    return caught.value


@BOTH
def test_sections_get_their_rights(arch: Arch) -> None:
    with machine(arch) as m:
        driver = Seh(m).driver
        rights = {section.name: m.memory.rights(section.address) for section in driver.sections}
        assert rights[".text"] == READ | EXECUTE
        assert rights[".rdata"] == READ
        assert rights[".idata"] & EXECUTE == 0
        assert m.memory.read(driver.base, 2) == b"MZ"
        assert m.memory.rights(driver.base) == READ
        assert not m.memory.is_mapped(driver.end)


@BOTH
def test_several_images_are_apart_and_pointers_are_adjusted(arch: Arch) -> None:
    with machine(arch) as m:
        first, second = Seh(m), Seh(m)
        assert first.driver.end <= second.driver.base
        for seh in (first, second):
            assert all(seh.driver.base < address < seh.driver.end for address in seh.functions.values())
            assert seh.call("divide", 1) == 5
        assert m.modules.at(second["divide"]) is second.driver


@BOTH
def test_what_an_unloaded_driver_left_behind_is_noticed(arch: Arch) -> None:
    with machine(arch) as m:
        before = m.memory.free_pages()
        seh = Seh(m)
        m.loader.unload(seh.driver)
        assert m.memory.free_pages() >= before - 16  # scratch and static pages stay
        with pytest.raises(GuestCrashed) as caught:
            m.cpu.call(seh["divide"], 1)
        assert (caught.value.bugcheck.code, caught.value.bugcheck.parameters[0]) == (0xCE, seh["divide"])
        assert "seh.sys" in caught.value.bugcheck.reason


@BOTH
def test_the_other_architecture_is_an_invalid_image(arch: Arch) -> None:
    other = Arch.X86 if arch is Arch.X64 else Arch.X64
    assert refused(image(other), arch).status == INVALID_IMAGE_FORMAT


def test_all_missing_imports_are_named_at_once() -> None:
    data = image()
    for name in (b"ExRaiseStatus\0", b"ExAllocatePoolWithTag\0"):
        at = data.index(name)
        data[at : at + 2] = b"Zz"
    error = refused(data)
    assert error.status == ENTRYPOINT_NOT_FOUND
    assert error.unmodelled == ("ntoskrnl.exe!ZzAllocatePoolWithTag", "ntoskrnl.exe!ZzRaiseStatus")
    assert all(name in str(error) for name in error.unmodelled)


def test_an_import_from_the_wrong_module_is_missing() -> None:
    data = image()
    renamed(data, b"ntoskrnl.exe", b"netio.sys")
    assert all(name.startswith("netio.sys!") for name in refused(data).unmodelled)


def test_an_import_of_another_windows_says_of_which() -> None:
    data = image(Arch.X86)
    renamed(data, b"ExAllocatePoolWithTag", b"CmGetCallbackVersion")  # as long, since Vista
    error = refused(data, Arch.X86, version=XP)
    assert error.unmodelled == ()
    assert "Windows 5.1 (x86) does not export: ntoskrnl.exe!CmGetCallbackVersion (since 6.0)" in str(error)


def test_a_framework_driver_is_called_one() -> None:
    data = image()
    renamed(data, b"ntoskrnl.exe", b"WDFLDR.SYS")
    error = refused(data)
    assert "it is a KMDF driver (WDFLDR.SYS!" in str(error)
    assert "does not model" not in str(error)


def test_an_image_that_can_not_be_moved_needs_its_place() -> None:
    data = image()
    characteristics = header(data) - 2
    struct.pack_into("<H", data, characteristics, struct.unpack_from("<H", data, characteristics)[0] | 1)
    struct.pack_into("<II", data, directory(data, 5), 0, 0)
    assert refused(data).status == CONFLICTING_ADDRESSES  # its base is in user space
    base = 0xFFFF_F800_6000_0000
    old = struct.unpack_from("<Q", data, header(data) + 24)[0]
    struct.pack_into("<Q", data, header(data) + 24, base)
    with machine() as m:
        driver = m.loader.load(bytes(data), "fixed.sys")
        assert (driver.base, driver.slide) == (base, 0)
        assert old != base
        with pytest.raises(DriverRefusedError) as caught:
            m.loader.load(bytes(data), "again.sys")
        assert caught.value.status == CONFLICTING_ADDRESSES


def test_an_image_without_relocations_that_were_not_stripped_goes_anywhere() -> None:
    data = image()
    struct.pack_into("<II", data, directory(data, 5), 0, 0)
    with machine() as m:
        assert m.loader.load(bytes(data), "free.sys").base == m.memory.map.drivers.start


@BOTH
def test_the_security_cookie_is_fresh_in_every_load(arch: Arch) -> None:
    """MSVC's entry code refuses to run with the linker's value."""
    data = image(arch)
    wide = arch is Arch.X64
    base = struct.unpack_from("<Q" if wide else "<I", data, header(data) + (24 if wide else 28))[0]
    parsed = parse(bytes(data))
    text = next(s for s in parsed.sections if s.name == ".text")
    # A load config in the unused end of .rdata, whose cookie is the 16 bytes after it.
    rdata = next(s for s in parsed.sections if s.name == ".rdata")
    place = rdata.raw + rdata.raw_size
    struct.pack_into("<I", data, header(data) + 0, struct.unpack_from("<I", data, header(data))[0])
    section = header(data) + struct.unpack_from("<H", data, header(data) - 4)[0]
    index = [s.name for s in parsed.sections].index(".rdata")
    struct.pack_into("<I", data, section + 40 * index + 8, 0x200)  # virtual size: all of the raw data
    config = bytearray(0x70)
    cookie = rdata.rva + 0x1E0
    struct.pack_into("<I", config, 0, 0x70)
    struct.pack_into("<Q" if wide else "<I", config, 0x58 if wide else 0x3C, base + cookie)
    at = rdata.raw + 0x160
    assert at + 0x70 <= rdata.raw + 0x200 <= len(data)
    data[at : at + 0x70] = config
    default = 0x2B99_2DDF_A232 if wide else 0xBB40_E64E
    struct.pack_into("<Q" if wide else "<I", data, rdata.raw + 0x1E0, default)
    struct.pack_into("<II", data, directory(data, 10), rdata.rva + 0x160, 0x70)
    assert place > text.raw
    with machine(arch) as m:
        values = {m.memory.ptr(m.loader.load(bytes(data), "gs.sys").base + cookie) for _ in range(3)}
    assert len(values) == 3
    assert default not in values
    assert not wide or all(value >> 48 == 0 for value in values)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("no MZ", lambda d: d.__setitem__(slice(0, 2), b"ZM")),
        ("no PE", lambda d: struct.pack_into("<I", d, 0x3C, 0)),
        ("PE beyond", lambda d: struct.pack_into("<I", d, 0x3C, 0xFFFF_FFF0)),
        ("not native", lambda d: struct.pack_into("<H", d, header(d) + 68, 3)),
        ("machine", lambda d: struct.pack_into("<H", d, header(d) - 20, 0xAA64)),
        ("no sections", lambda d: struct.pack_into("<H", d, header(d) - 18, 0)),
        ("many sections", lambda d: struct.pack_into("<H", d, header(d) - 18, 0xFFFF)),
        ("huge image", lambda d: struct.pack_into("<I", d, header(d) + 56, 0x7FFF_F000)),
        ("no size", lambda d: struct.pack_into("<I", d, header(d) + 56, 0)),
        ("entry outside", lambda d: struct.pack_into("<I", d, header(d) + 16, 0x0FFF_FFFF)),
        ("alignment", lambda d: struct.pack_into("<I", d, header(d) + 32, 0x1001)),
        ("imports outside", lambda d: struct.pack_into("<II", d, directory(d, 1), 0x7000_0000, 40)),
        ("relocations outside", lambda d: struct.pack_into("<II", d, directory(d, 5), 0x10, 0xFFFF_FFFF)),
        ("unwind data outside", lambda d: struct.pack_into("<II", d, directory(d, 3), 0x1000, 240)),
        ("cut off", lambda d: d.__delitem__(slice(0x400, None))),
        ("empty", lambda d: d.clear()),
    ],
)
def test_broken_images_are_refused_with_a_reason(what: str, change: Callable[[bytearray], None]) -> None:
    data = image()
    change(data)
    error = refused(data)
    assert error.status == INVALID_IMAGE_FORMAT
    assert str(error).startswith("not a driver image Windows would load: ")


def test_import_tables_without_end_are_refused() -> None:
    data = image()
    parsed = parse(bytes(data))
    text = next(s for s in parsed.sections if s.name == ".text")
    # Descriptors that all name the same module and table: more modules than anybody imports from.
    data[text.raw : text.raw + text.raw_size] = (struct.pack("<5I", 0, 0, 0, 0x1100, 0x1100) * 200)[
        : text.raw_size
    ]
    struct.pack_into("<II", data, directory(data, 1), text.rva, 20)
    assert refused(data).status == INVALID_IMAGE_FORMAT


@pytest.fixture(scope="module", params=list(Arch), ids=str)
def target(request: pytest.FixtureRequest) -> object:
    with machine(request.param) as m:
        yield m, bytes(image(request.param))


_PATCH = st.tuples(
    st.integers(0, 0x3FF),
    st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"\xff" * 4, bytes(4)])),
)
_ANYWHERE = st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=16))


@given(st.lists(_PATCH, max_size=4), st.lists(_ANYWHERE, max_size=4), st.floats(0, 1))
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_mutated_images_load_or_are_refused_and_never_anything_else(
    target: tuple[Machine, bytes],
    patches: list[tuple[int, bytes]],
    scattered: list[tuple[float, bytes]],
    cut: float,
) -> None:
    m, original = target
    data = bytearray(original)
    for offset, value in patches:
        data[offset : offset + len(value)] = value
    for place, value in scattered:
        offset = int(place * (len(original) - len(value)))
        data[offset : offset + len(value)] = value
    if cut < 0.1:
        del data[int(cut * 10 * len(data)) :]
    with suppress(DriverRefusedError):
        m.loader.unload(m.loader.load(bytes(data), "fuzz.sys"))
    assert len(m.modules) == 0


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_are_no_image(data: bytes) -> None:
    with pytest.raises(DriverRefusedError):
        parse(b"MZ" + data)


def test_old_windows_load_the_same_image() -> None:
    with machine(Arch.X86, version=XP) as m:
        assert Seh(m).call("divide", 1) == 5


def test_a_damaged_unwind_table_does_not_stop_a_bugcheck() -> None:
    """The stack just ends where it can't be followed."""
    with machine() as m:
        seh = Seh(m)
        function = seh.driver.function_at(seh["nested_read"])
        assert function is not None
        m.memory.write(seh.driver.base + function.unwind, b"\xff" * 16, force=True)
        with pytest.raises(GuestCrashed) as caught:
            m.cpu.call(seh["nested_read"], 0x5000)
        assert caught.value.bugcheck.stack[0].function == "leaf_read"
