"""Images and signatures nobody should trust: a report, never an exception or a hang."""

from __future__ import annotations

import struct
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.driver import build_signed, check_signature, find_project_root, verify_bytes
from harness.driver.authenticode import image_digest, page_hash_table
from harness.driver.image import read_headers
from harness.errors import ToolMissingError

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def good_image() -> bytes:
    try:
        return build_signed(find_project_root() / "driver-src" / "samples" / "traits_legacy.c", "x64").read()
    except ToolMissingError as error:
        pytest.skip(str(error))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The good image with a few bytes changed, most of them where structure is."""
    image = bytearray(good_image())
    headers = read_headers(bytes(image))
    zones = st.one_of(
        st.integers(0, headers.size_of_headers - 1),
        st.integers(headers.certificate_offset, len(image) - 1),
        st.integers(0, len(image) - 1),
    )
    for position in draw(st.lists(zones, min_size=1, max_size=8)):
        image[position] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        image = image[: draw(st.integers(0, len(image)))]
    return bytes(image)


@FEW
@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    report = check_signature(data)
    assert not report.ok
    assert report.problem
    assert not verify_bytes(data).ok


@FEW
@given(mutated())
def test_mutated_images(image: bytes) -> None:
    report = check_signature(image)
    assert report.ok or report.problem
    verified = verify_bytes(image)
    assert verified.ok or verified.failed
    assert all(check.why for check in verified.failed)


@FEW
@given(st.binary(min_size=1, max_size=600))
def test_any_bytes_as_the_signature(blob: bytes) -> None:
    good = good_image()
    headers = read_headers(good)
    blob += bytes(-len(blob) % 8)
    table = struct.pack("<IHH", len(blob) + 8, 0x0200, 0x0002) + blob
    image = bytearray(good[: headers.certificate_offset] + table)
    struct.pack_into("<I", image, headers.security_entry_offset + 4, len(table))
    report = check_signature(bytes(image))
    assert report.signed
    assert not report.ok
    assert report.problem.startswith("malformed signature")


@FEW
@given(st.integers(1, 6), st.integers(0, 255))
def test_deeply_nested_signatures(depth: int, tag: int) -> None:
    blob = b"\x02\x01\x00"
    for _ in range(10**depth if depth < 4 else 2000):
        length = len(blob)
        if length > 60000:
            break
        blob = bytes([tag, 0x82]) + struct.pack(">H", length) + blob
    good = good_image()
    headers = read_headers(good)
    blob += bytes(-len(blob) % 8)
    table = struct.pack("<IHH", len(blob) + 8, 0x0200, 0x0002) + blob
    image = bytearray(good[: headers.certificate_offset] + table)
    struct.pack_into("<I", image, headers.security_entry_offset + 4, len(table))
    assert not check_signature(bytes(image)).ok


def craft(**fields: int) -> bytes:
    """A header-only image with fields that lie; offsets are those of a small PE32+ file."""
    image = bytearray(0x400)
    image[:2] = b"MZ"
    struct.pack_into("<I", image, 0x3C, 0x40)
    image[0x40:0x44] = b"PE\0\0"
    values = {
        "machine": 0x8664,
        "sections": 1,
        "optional": 240,
        "alignment": 0x1000,
        "headers": 0x400,
        **fields,
    }
    struct.pack_into("<HH12xH", image, 0x44, values["machine"], values["sections"], values["optional"])
    struct.pack_into("<H", image, 0x58, values.get("magic", 0x20B))
    struct.pack_into("<II", image, 0x58 + 32, values["alignment"], 0x200)
    struct.pack_into("<I", image, 0x58 + 60, values["headers"])
    struct.pack_into("<I", image, 0x58 + 108, values.get("directories", 16))
    struct.pack_into("<II", image, 0x58 + 112 + 32, values.get("table", 0), values.get("table_size", 0))
    struct.pack_into(
        "<II", image, 0x58 + 240 + 16, values.get("raw_size", 0x200), values.get("raw_offset", 0x200)
    )
    return bytes(image)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"sections": 97}, "section table"),
        ({"sections": 0xFFFF}, "section table"),
        ({"optional": 0xFFFF}, "optional header"),
        ({"optional": 60}, "certificate table entry"),
        ({"magic": 0x107}, "magic"),
        ({"directories": 2}, "too few"),
        ({"headers": 0x10}, "SizeOfHeaders"),
        ({"headers": 0xFFFFFFFF}, "SizeOfHeaders"),
        ({"raw_size": 0xFFFFFFFF}, "section 0"),
        ({"raw_offset": 0xFFFFFFF0}, "section 0"),
        ({"table": 0xFFFFFFF0, "table_size": 0x20}, "certificate table"),
    ],
)
def test_headers_that_lie(fields: dict[str, int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_headers(craft(**fields))
    assert problem in check_signature(craft(**fields)).problem


def test_a_crafted_header_is_otherwise_fine() -> None:
    assert read_headers(craft()).sections == ((0x200, 0x200),)


@pytest.mark.parametrize("alignment", [0, 1, 0x10, 0xFFFFFFFF])
def test_page_hashes_refuse_silly_pages(alignment: int) -> None:
    with pytest.raises(ValueError, match="page"):
        page_hash_table(craft(alignment=alignment))


def test_a_table_over_the_headers_is_refused() -> None:
    image = craft(table=0x40, table_size=0x20)
    with pytest.raises(ValueError, match="overlaps"):
        image_digest(image)
    assert not check_signature(image).ok
