"""Hashes as drivers make them agree with those of the library."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

import pytest

from harness import reference
from harness.reference.arenas import Scratch
from harness.reference.machine import Machine
from harness.registry.status import NTSTATUS

_HMAC = 8


@pytest.fixture(scope="module", params=["x64", "x86"])
def m(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with reference.boot("10.0.10240", arch=request.param) as guest:
        yield guest.machine


def wide(scratch: Scratch, text: str) -> int:
    return scratch.bytes(text.encode("utf-16-le") + bytes(2))


def call(m: Machine, name: str, *args: int) -> int:
    return m.cpu.call(m.exports.address_of(name), *args) & 0xFFFFFFFF


@pytest.mark.parametrize("key", [b"", b"a secret"], ids=["plain", "keyed"])
@pytest.mark.parametrize("name", ["MD5", "SHA1", "SHA256", "SHA512"])
def test_a_hash_in_pieces(m: Machine, name: str, key: bytes) -> None:
    with m.memory.scratch() as scratch:
        cell, out = scratch.alloc(16), scratch.alloc(64)
        text, secret, data = wide(scratch, name), scratch.bytes(key or b"x"), scratch.bytes(b"one and two")
        wide_length = wide(scratch, "HashDigestLength")
        assert call(m, "BCryptOpenAlgorithmProvider", cell, text, 0, _HMAC if key else 0) == 0
        algorithm = m.memory.ptr(cell)
        assert call(m, "BCryptGetProperty", algorithm, wide_length, out, 4, cell, 0) == 0
        size = m.memory.u32(out)
        assert call(m, "BCryptCreateHash", algorithm, cell, 0, 0, secret if key else 0, len(key), 0) == 0
        made = m.memory.ptr(cell)
        for piece in range(2):
            assert call(m, "BCryptHashData", made, data, 11, 0) == 0, piece
        assert call(m, "BCryptFinishHash", made, out, size - 1, 0) == NTSTATUS.INVALID_PARAMETER
        assert call(m, "BCryptFinishHash", made, out, size, 0) == 0
        digest = m.memory.read(out, size)
        assert call(m, "BCryptDestroyHash", made) == 0
        assert call(m, "BCryptDestroyHash", made) == NTSTATUS.INVALID_HANDLE
        assert call(m, "BCryptCloseAlgorithmProvider", algorithm, 0) == 0
    whole = b"one and two" * 2
    expected = hmac.new(key, whole, name.lower()) if key else hashlib.new(name.lower(), whole)
    assert digest == expected.digest()


def test_an_algorithm_that_is_not_there(m: Machine) -> None:
    with m.memory.scratch() as scratch:
        cell, text = scratch.alloc(16), wide(scratch, "AES")
        assert call(m, "BCryptOpenAlgorithmProvider", cell, text, 0, 0) == 0xC0000225
