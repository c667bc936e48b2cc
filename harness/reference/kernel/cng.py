"""Hashes and random numbers of the kernel's cryptography (cng.sys, and ksecdd.sys, which forwards to it).

Sources: nf-bcrypt-bcryptopenalgorithmprovider, nf-bcrypt-bcryptcreatehash, nf-bcrypt-bcrypthashdata,
nf-bcrypt-bcryptfinishhash, nf-bcrypt-bcryptgetproperty, nf-bcrypt-bcryptgenrandom, SecCNG/cng-algorithm-
identifiers. Keys, encryption and signatures are not modelled.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harness.reference.exports import export
from harness.reference.kernel.text import read_wide_z
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_MODULES: Final = ("cng.sys", "ksecdd.sys")
_VISTA: Final = (6, 0)
_NAMES: Final = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}
_HMAC_FLAG: Final = 8  # BCRYPT_ALG_HANDLE_HMAC_FLAG
#: What a caller's own hash object must have room for; the state is kept outside of it.
_OBJECT_LENGTH: Final = 0x200
_NOT_FOUND: Final = 0xC0000225


@dataclass(slots=True, eq=False)
class _Algorithm:
    """An open provider: the hash it makes ("" for random numbers)."""

    digest: str
    keyed: bool


@dataclass(slots=True, eq=False)
class _Hash:
    algorithm: _Algorithm
    secret: bytes
    state: Any


def _start(algorithm: _Algorithm, secret: bytes) -> Any:
    if algorithm.keyed:
        return hmac.new(secret, digestmod=algorithm.digest)
    return hashlib.new(algorithm.digest)


def _new(m: Machine, out: int, body: _Algorithm | _Hash) -> int:
    handle = m.objects.heap.alloc(32)
    m.kernel.cng[handle] = body
    m.memory.put_ptr(out, handle)
    return NTSTATUS.SUCCESS


@export("BCryptOpenAlgorithmProvider", args="ptr, ptr, ptr, ulong", modules=_MODULES, since=_VISTA)
def bcrypt_open_algorithm_provider(m: Machine, out: int, name: int, provider: int, flags: int) -> int:
    text = read_wide_z(m.memory, name)
    if text not in _NAMES and text != "RNG":
        m.kernel.debug.note(f"the algorithm {text!r} is not modelled: STATUS_NOT_FOUND")
        return _NOT_FOUND
    return _new(m, out, _Algorithm(_NAMES.get(text, ""), bool(flags & _HMAC_FLAG)))


@export("BCryptCloseAlgorithmProvider", args="handle, ulong", modules=_MODULES, since=_VISTA)
def bcrypt_close_algorithm_provider(m: Machine, handle: int, flags: int) -> int:
    return _close(m, handle, _Algorithm)


@export("BCryptDestroyHash", args="handle", modules=_MODULES, since=_VISTA)
def bcrypt_destroy_hash(m: Machine, handle: int) -> int:
    return _close(m, handle, _Hash)


def _close(m: Machine, handle: int, kind: type) -> int:
    if not isinstance(m.kernel.cng.get(handle), kind):
        return NTSTATUS.INVALID_HANDLE
    del m.kernel.cng[handle]
    m.objects.heap.free(handle)
    return NTSTATUS.SUCCESS


@export("BCryptGetProperty", args="handle, ptr, ptr, ulong, ptr, ulong", modules=_MODULES, since=_VISTA)
def bcrypt_get_property(
    m: Machine, handle: int, name: int, out: int, length: int, done: int, flags: int
) -> int:
    """ObjectLength, HashDigestLength and HashBlockLength."""
    body = m.kernel.cng.get(handle)
    if body is None:
        return NTSTATUS.INVALID_HANDLE
    algorithm = body.algorithm if isinstance(body, _Hash) else body
    text = read_wide_z(m.memory, name)
    if text == "ObjectLength":
        value = _OBJECT_LENGTH
    elif text in ("HashDigestLength", "HashBlockLength") and algorithm.digest:
        made = hashlib.new(algorithm.digest)
        value = made.digest_size if text == "HashDigestLength" else made.block_size
    else:
        m.kernel.debug.note(f"BCryptGetProperty of {text!r} is not modelled: STATUS_NOT_SUPPORTED")
        return NTSTATUS.NOT_SUPPORTED
    m.memory.put_u32(done, 4)
    if out:
        if length < 4:
            return NTSTATUS.BUFFER_TOO_SMALL
        m.memory.put_u32(out, value)
    return NTSTATUS.SUCCESS


@export("BCryptCreateHash", args="handle, ptr, ptr, ulong, ptr, ulong, ulong", modules=_MODULES, since=_VISTA)
def bcrypt_create_hash(
    m: Machine, handle: int, out: int, memory: int, room: int, secret: int, length: int, flags: int
) -> int:
    algorithm = m.kernel.cng.get(handle)
    if not isinstance(algorithm, _Algorithm) or not algorithm.digest:
        return NTSTATUS.INVALID_HANDLE
    if memory and room < _OBJECT_LENGTH:
        return NTSTATUS.BUFFER_TOO_SMALL
    key = m.memory.read(secret, length) if secret and length else b""
    return _new(m, out, _Hash(algorithm, key, _start(algorithm, key)))


@export("BCryptHashData", args="handle, ptr, ulong, ulong", modules=_MODULES, since=_VISTA)
def bcrypt_hash_data(m: Machine, handle: int, data: int, length: int, flags: int) -> int:
    body = m.kernel.cng.get(handle)
    if not isinstance(body, _Hash):
        return NTSTATUS.INVALID_HANDLE
    if length:
        body.state.update(m.memory.read(data, length))
    return NTSTATUS.SUCCESS


@export("BCryptFinishHash", args="handle, ptr, ulong, ulong", modules=_MODULES, since=_VISTA)
def bcrypt_finish_hash(m: Machine, handle: int, out: int, length: int, flags: int) -> int:
    """`length` must be that of the hash."""
    body = m.kernel.cng.get(handle)
    if not isinstance(body, _Hash):
        return NTSTATUS.INVALID_HANDLE
    digest = body.state.digest()
    if length != len(digest):
        return NTSTATUS.INVALID_PARAMETER
    m.memory.write(out, digest)
    body.state = _start(body.algorithm, body.secret)
    return NTSTATUS.SUCCESS


@export("BCryptGenRandom", args="handle, ptr, ulong, ulong", modules=_MODULES, since=_VISTA)
def bcrypt_gen_random(m: Machine, handle: int, out: int, length: int, flags: int) -> int:
    if length:
        m.memory.fill(out, length)  # a length beyond the buffer faults before anything is made for it
        m.memory.write(out, secrets.token_bytes(length))
    return NTSTATUS.SUCCESS
