"""Hive files: what is written can be read, what is hostile is refused with a reason."""

import random
import struct
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.reference.cm.image import HiveImage, KeyImage, ValueImage
from harness.reference.cm.names import upcase
from harness.reference.cm.regf_format import KEY_LINK, base_checksum, leaf_hash
from harness.reference.cm.regf_read import HiveError, read_hive
from harness.reference.cm.regf_write import write_hive
from harness.reference.cm.sddl import parse_sddl
from harness.registry.status import NTSTATUS

SECURITY = [parse_sddl(text).encode() for text in ("O:BAG:SYD:P(A;CI;KA;;;SY)", "O:SYG:SYD:(A;;KR;;;WD)")]

key_names = st.text(st.characters(exclude_characters="\\"), min_size=1, max_size=20)
value_names = st.text(max_size=20)


def unique(items: list[Any]) -> list[Any]:
    return list({upcase(item.name): item for item in items}.values())


values = st.builds(
    ValueImage,
    value_names,
    st.integers(0, 0xFFFFFFFF),
    st.one_of(st.binary(max_size=64), st.sampled_from([b"x" * 16344, b"y" * 16345, b"z" * 50_000])),
)


@st.composite
def keys(draw: st.DrawFn, depth: int = 3) -> KeyImage:
    below = draw(st.lists(keys(depth - 1), max_size=4)) if depth else []
    children = sorted(unique(below), key=lambda key: upcase(key.name).encode("utf-16-be", "surrogatepass"))
    return KeyImage(
        draw(key_names),
        draw(st.sampled_from(SECURITY)),
        draw(st.integers(0, 2**64 - 1)),
        draw(st.text(max_size=10)),
        draw(st.sampled_from([0, KEY_LINK])),
        unique(draw(st.lists(values, max_size=4))),
        children,
    )


@settings(deadline=None)
@given(keys(), st.sampled_from([3, 4, 5, 6]), st.integers(0, 2**64 - 1))
def test_round_trip(root: KeyImage, minor: int, timestamp: int) -> None:
    image = HiveImage(root, minor, timestamp, "app.dat")
    data = write_hive(image)
    assert len(data) % 4096 == 0
    assert read_hive(data) == image


def sample(**changes: Any) -> HiveImage:
    root = KeyImage(
        "root",
        SECURITY[0],
        1,
        "class",
        0,
        [ValueImage("", 1, b"abc"), ValueImage("big", 3, b"b" * 40_000), ValueImage("long", 3, b"l" * 100)],
        [KeyImage("child", SECURITY[1], 2, "", 0, [ValueImage("v", 4, b"1234")], [])],
    )
    return HiveImage(replace(root, **changes))


def test_many_subkeys_need_an_index() -> None:
    children = [KeyImage(f"key {number:05}", SECURITY[0], number) for number in range(1500)]
    for minor in (3, 5):
        data = write_hive(HiveImage(KeyImage("root", SECURITY[0], subkeys=list(children)), minor))
        assert data.count(b"ri\x03\x00") == 1
        assert read_hive(data).root.subkeys == children


def test_descriptors_are_shared() -> None:
    children = [KeyImage(f"{number}", SECURITY[0]) for number in range(10)]
    data = write_hive(HiveImage(KeyImage("root", SECURITY[0], subkeys=children)))
    assert data.count(SECURITY[0]) == 1


def test_base_block() -> None:
    data = write_hive(replace(sample(), file_name="hive.dat", timestamp=7))
    assert data[:4] == b"regf"
    first, second, stamp, major, minor = struct.unpack_from("<IIQII", data, 4)
    assert (first, second, stamp, major, minor) == (1, 1, 7, 1, 5)
    assert struct.unpack_from("<I", data, 508)[0] == base_checksum(data)
    assert data[4096:4100] == b"hbin"
    assert struct.unpack_from("<I", data, 40)[0] == len(data) - 4096


@pytest.mark.parametrize(
    ("words", "expected"), [([], 1), ([0xFFFFFFFF], 0xFFFFFFFE), ([1, 2], 3), ([5, 5], 1)]
)
def test_checksum(words: list[int], expected: int) -> None:
    block = struct.pack(f"<{len(words)}I", *words).ljust(512, b"\0")
    assert base_checksum(block) == expected


def test_leaf_hash() -> None:
    # h("ab") = ((0 * 37 + 'A') * 37 + 'B')
    assert leaf_hash("ab") == leaf_hash("AB") == 0x41 * 37 + 0x42
    assert leaf_hash("x" * 255) <= 0xFFFFFFFF


def mended(data: bytearray) -> bytes:
    """With a right checksum, so that damage below it is what is found."""
    struct.pack_into("<I", data, 508, base_checksum(bytes(data)))
    return bytes(data)


@pytest.mark.parametrize(
    ("offset", "value", "status", "complaint"),
    [
        (0, b"xxxx", NTSTATUS.NOT_REGISTRY_FILE, "not a hive file"),
        (4, b"\2\0\0\0", NTSTATUS.REGISTRY_CORRUPT, "torn"),
        (20, b"\2\0\0\0", NTSTATUS.NOT_REGISTRY_FILE, "version 2.5"),
        (24, b"\x09\0\0\0", NTSTATUS.NOT_REGISTRY_FILE, "version 1.9"),
        (36, b"\0\0\0\0", NTSTATUS.REGISTRY_CORRUPT, "no allocated cell at 0"),
        (36, b"\xff\xff\xff\xff", NTSTATUS.REGISTRY_CORRUPT, "no allocated cell"),
        (40, b"\0\0\0\x70", NTSTATUS.REGISTRY_CORRUPT, "bins of"),
        (40, b"\0\0\0\0", NTSTATUS.REGISTRY_CORRUPT, "bins of 0"),
        (4096, b"nbin", NTSTATUS.REGISTRY_CORRUPT, "bin at 0: signature"),
        (4104, b"\0\0\0\0", NTSTATUS.REGISTRY_CORRUPT, "bin at 0"),
        (4128, b"\0\0\0\0", NTSTATUS.REGISTRY_CORRUPT, "cell at 32: size 0"),
        (4128, b"\0\0\0\x80", NTSTATUS.REGISTRY_CORRUPT, "cell at 32"),
        (4132, b"xx", NTSTATUS.REGISTRY_CORRUPT, "signature b'xx'"),
        (4132 + 20, b"\xff\xff\xff\x7f", NTSTATUS.REGISTRY_CORRUPT, "subkeys, 1 listed"),
        (4132 + 28, b"\x20\0\0\0", NTSTATUS.REGISTRY_CORRUPT, "subkey list at 32"),
        (4132 + 36, b"\xff\xff\xff\x3f", NTSTATUS.REGISTRY_CORRUPT, "value list"),
        (4132 + 44, b"\x20\0\0\0", NTSTATUS.REGISTRY_CORRUPT, "security at 32"),
        (4132 + 48, b"\x21\0\0\0", NTSTATUS.REGISTRY_CORRUPT, "class: no allocated cell at 33"),
        (4132 + 72, b"\xff\xff", NTSTATUS.REGISTRY_CORRUPT, "name of 65535 bytes"),
        (4132 + 72, b"\0\0", NTSTATUS.REGISTRY_CORRUPT, "name of 0 characters"),
        (4132 + 76, b"a\\", NTSTATUS.REGISTRY_CORRUPT, "not a key name"),
    ],
)
def test_damage_is_named(offset: int, value: bytes, status: int, complaint: str) -> None:
    data = bytearray(write_hive(sample()))
    data[offset : offset + len(value)] = value
    with pytest.raises(HiveError, match=complaint) as caught:
        read_hive(mended(data))
    assert caught.value.status == status


def test_a_wrong_checksum_is_no_hive() -> None:
    data = bytearray(write_hive(sample()))
    data[508] ^= 1
    with pytest.raises(HiveError, match="checksum"):
        read_hive(bytes(data))


def cell_of(data: bytes, signature: bytes, number: int = 0) -> int:
    at = 4096
    for _ in range(number + 1):
        at = data.index(signature, at + 1)
    return at


def test_a_key_that_is_its_own_child() -> None:
    data = bytearray(write_hive(sample()))
    leaf = cell_of(data, b"lh\1\0")
    struct.pack_into("<I", data, leaf + 4, 32)  # the root's cell
    with pytest.raises(HiveError, match="occurs twice"):
        read_hive(mended(data))


def test_values_that_share_their_data_do_not_multiply_it() -> None:
    many = [ValueImage(f"{number:03}", 3, bytes([number]) * 5000) for number in range(200)]
    data = bytearray(write_hive(HiveImage(KeyImage("root", SECURITY[0], values=many))))
    records = []
    at = 4096
    while (at := data.find(b"vk\3\0", at + 1)) > 0:
        records.append(at)
    assert len(records) == 200
    # All values now claim the whole first bin's largest cell; together more than the file holds.
    big = write_hive(HiveImage(KeyImage("r", SECURITY[0], values=[ValueImage("x", 3, b"q" * 16000)])))
    assert len(read_hive(big).root.values[0].data) == 16000
    target = struct.unpack_from("<I", data, records[0] + 8)[0]
    for record in records:
        struct.pack_into("<I", data, record + 8, target)
        struct.pack_into("<I", data, record + 4, 5000)
    image = read_hive(mended(data))  # sharing alone is legal as long as it stays within the file's size
    assert {value.data for value in image.root.values} == {b"\0" * 5000}
    listing = struct.unpack_from("<I", data, 4132 + 40)[0] + 4096 + 4
    duplicate = struct.unpack_from("<I", data, listing)[0]
    for number in range(200):
        struct.pack_into("<I", data, listing + 4 * number, duplicate)
    with pytest.raises(HiveError, match="two values of one name"):
        read_hive(mended(data))


def test_bad_big_data() -> None:
    data = bytearray(write_hive(sample()))
    record = cell_of(data, b"db\3\0")
    struct.pack_into("<H", data, record + 2, 2)
    with pytest.raises(HiveError, match="2 segments for 40000 bytes"):
        read_hive(mended(data))


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8191])
def test_truncation(size: int) -> None:
    with pytest.raises(HiveError):
        read_hive(write_hive(sample())[:size])


@settings(deadline=None, max_examples=400)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_random_damage_is_refused_or_read(seed: int, count: int) -> None:
    """Any bytes in any place: a HiveError or a tree that can be written and read again."""
    chance = random.Random(seed)
    data = bytearray(write_hive(sample()))
    # Most of the file is the big value's data; aim at the rest.
    structure = [*range(4096, 8192), *range(len(data) - 4096, len(data))]
    for _ in range(count):
        at = chance.choice(structure) if chance.random() < 0.9 else chance.randrange(40)
        width = chance.choice((1, 2, 4))
        data[at : at + width] = chance.choice(
            (chance.randbytes(width), b"\xff" * width, bytes(width), (at % 256).to_bytes(width, "little"))
        )
    try:
        image = read_hive(mended(data))
    except HiveError:
        return
    again = read_hive(write_hive(image))
    assert sorted(key.name for key in again.root.tree()) == sorted(key.name for key in image.root.tree())


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_arbitrary_bytes_behind_a_good_header(body: bytes) -> None:
    data = bytearray(write_hive(sample()))
    data[4096 + 32 : 4096 + 32 + len(body)] = body
    with suppress(HiveError):
        read_hive(mended(data))
