"""`verify_image`: the real probe passes, and each check fails on an image made for it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pefile
import pytest

from harness.driver import (
    BuildResult,
    SignResult,
    build_signed,
    sign_image,
    signing_certificate,
    verify_bytes,
    verify_image,
)
from harness.driver.image import pe_checksum, read_headers
from harness.errors import UsageError

#: What the x86 probe may import: every name exists since Windows XP (driver reference, "Minimum client").
XP_IMPORTS = frozenset(
    {
        "ExAcquireFastMutex",
        "ExAllocatePoolWithTag",
        "ExFreePoolWithTag",
        "ExGetPreviousMode",
        "ExRaiseStatus",
        "ExReleaseFastMutex",
        "IoAllocateWorkItem",
        "IoCreateDevice",
        "IoCreateSymbolicLink",
        "IoDeleteDevice",
        "IoDeleteSymbolicLink",
        "IoFreeWorkItem",
        "IoQueueWorkItem",
        "IofCompleteRequest",
        "KeBugCheckEx",
        "KeClearEvent",
        "KeDelayExecutionThread",
        "KeGetCurrentIrql",
        "KeInitializeEvent",
        "KeQueryPerformanceCounter",
        "KeSetEvent",
        "KeWaitForSingleObject",
        "KfAcquireSpinLock",
        "KfLowerIrql",
        "KfRaiseIrql",
        "KfReleaseSpinLock",
        "MmGetSystemRoutineAddress",
        "ObOpenObjectByPointer",
        "ObQueryNameString",
        "ObReferenceObjectByHandle",
        "ObfDereferenceObject",
        "PsGetCurrentProcessId",
        "PsGetCurrentThreadId",
        "RtlGetVersion",
        "RtlInitUnicodeString",
        "RtlUpcaseUnicodeChar",
        "ZwClose",
        "ZwCreateKey",
        "ZwDeleteKey",
        "ZwDeleteValueKey",
        "ZwEnumerateKey",
        "ZwOpenKey",
        "ZwQueryKey",
        "ZwQueryValueKey",
        "ZwSetSecurityObject",
        "ZwSetValueKey",
        "memcpy",
        "memmove",
        "memset",
    }
)


def test_the_probe_passes_every_check(signed_probe: SignResult) -> None:
    report = verify_image(signed_probe.image)
    assert report.ok, report.failed
    assert report.arch == signed_probe.arch
    assert report.signature.page_hashes_ok


def test_the_x86_probe_imports_nothing_newer_than_xp(signed_probe: SignResult) -> None:
    if signed_probe.arch != "x86":
        pytest.skip("one x86 binary serves XP; x64 starts with 6.1")
    image = pefile.PE(str(signed_probe.image))
    names = {entry.name.decode() for module in image.DIRECTORY_ENTRY_IMPORT for entry in module.imports}
    assert names <= XP_IMPORTS, names - XP_IMPORTS


def test_the_probe_has_a_section_to_discard(signed_probe: SignResult) -> None:
    assert "freed" in verify_image(signed_probe.image).check("INIT discardable").why


def edit_optional(offset: int, kind: str, change: Callable[[int], int]) -> Callable[[bytearray], None]:
    """An edit of a field of the optional header, counted from its start."""

    def edit(image: bytearray) -> None:
        (pe_offset,) = struct.unpack_from("<I", image, 0x3C)
        at = pe_offset + 24 + offset
        struct.pack_into(kind, image, at, change(struct.unpack_from(kind, image, at)[0]))

    return edit


def edit_section(name: bytes, change: Callable[[int], int]) -> Callable[[bytearray], None]:
    """An edit of a section's characteristics."""

    def edit(image: bytearray) -> None:
        (pe_offset,) = struct.unpack_from("<I", image, 0x3C)
        count, size = struct.unpack_from("<H12xH", image, pe_offset + 6)
        for index in range(count):
            at = pe_offset + 24 + size + 40 * index
            if image[at : at + 8].rstrip(b"\0") == name:
                struct.pack_into("<I", image, at + 36, change(struct.unpack_from("<I", image, at + 36)[0]))
                return
        raise AssertionError(f"no section {name!r}")

    return edit


def edit_file_flags(image: bytearray) -> None:
    (pe_offset,) = struct.unpack_from("<I", image, 0x3C)
    struct.pack_into("<H", image, pe_offset + 22, struct.unpack_from("<H", image, pe_offset + 22)[0] | 1)


BREAKAGES: dict[str, Callable[[bytearray], None]] = {
    "native subsystem": edit_optional(68, "<H", lambda _: 3),
    "entry point": edit_optional(16, "<I", lambda _: 0x00F00000),
    "NX compatible": edit_optional(70, "<H", lambda v: v & ~0x0100),
    "dynamic base": edit_optional(70, "<H", lambda v: v & ~0x0040),
    "high entropy": edit_optional(70, "<H", lambda v: v & ~0x0020),
    "relocations": edit_file_flags,
    "no writable code": edit_section(b".text", lambda v: v | 0x80000000),
    "INIT discardable": edit_section(b"INIT", lambda v: v & ~0x02000000),
}


@pytest.mark.parametrize("check", sorted(BREAKAGES))
def test_a_broken_property_fails_its_check_alone(
    signed_probe: SignResult, check: str, tmp_path: Path
) -> None:
    """Breaks one property, signs again: that check fails and no other."""
    if check == "high entropy" and signed_probe.arch == "x86":
        pytest.skip("x64 only")
    image = bytearray(signed_probe.read())
    BREAKAGES[check](image)
    report = verify_bytes(resign(image, tmp_path))
    assert [failed.name for failed in report.failed] == [check], report.failed


def resign(image: bytearray, folder: Path) -> bytes:
    signed = bytearray(sign_image(bytes(image), signing_certificate(folder / "keys")))
    headers = read_headers(bytes(signed))
    struct.pack_into(
        "<I", signed, headers.checksum_offset, pe_checksum(bytes(signed), headers.checksum_offset)
    )
    return bytes(signed)


def test_an_import_newer_than_the_image_claims_fails(tmp_path: Path) -> None:
    source = tmp_path / "newer.c"
    source.write_text(
        "#include <ntddk.h>\n"
        "static LARGE_INTEGER cookie;\n"
        "static NTSTATUS NTAPI C(PVOID a, PVOID b, PVOID c)\n"
        "{ UNREFERENCED_PARAMETER(a); UNREFERENCED_PARAMETER(b); UNREFERENCED_PARAMETER(c); return 0; }\n"
        "NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)\n"
        "{ return CmRegisterCallbackEx(C, service, driver, NULL, &cookie, NULL); }\n"
    )
    report = verify_image(build_signed(source, "x86", output=tmp_path / "build").image)
    assert [check.name for check in report.failed] == ["imports"]
    assert "CmRegisterCallbackEx" in report.check("imports").why
    source.write_text("/* harness: since 6.0 */\n" + source.read_text())
    assert verify_image(build_signed(source, "x86", output=tmp_path / "build").image).ok


def test_a_stale_checksum_fails(signed_tiny: SignResult) -> None:
    image = bytearray(signed_tiny.read())
    image[read_headers(bytes(image)).checksum_offset] ^= 0xFF
    assert [check.name for check in verify_bytes(bytes(image)).failed] == ["checksum"]


def test_an_unsigned_image_fails_the_signature_checks(unsigned_tiny: BuildResult) -> None:
    report = verify_image(unsigned_tiny.unsigned)
    assert [check.name for check in report.failed] == ["signed", "digest", "certificate"]


def test_a_tampered_image_fails_digest_and_checksum(signed_tiny: SignResult) -> None:
    image = bytearray(signed_tiny.read())
    image[0x410] ^= 1
    assert [check.name for check in verify_bytes(bytes(image)).failed] == [
        "checksum",
        "digest",
        "page hashes",
    ]


def test_a_machine_we_do_not_know_fails(signed_tiny: SignResult) -> None:
    image = bytearray(signed_tiny.read())
    (pe_offset,) = struct.unpack_from("<I", image, 0x3C)
    struct.pack_into("<H", image, pe_offset + 4, 0xAA64)
    assert not verify_bytes(bytes(image)).check("image").ok


def test_what_is_no_image_is_a_failed_check() -> None:
    report = verify_bytes(b"this is no image")
    assert not report.ok
    assert report.failed[0].name == "image"


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.sys"):
        verify_image(tmp_path / "absent.sys")


def test_an_unknown_check_is_a_key_error(signed_tiny: SignResult) -> None:
    with pytest.raises(KeyError, match="sparkle"):
        verify_image(signed_tiny.image).check("sparkle")


def test_the_checksum_is_that_of_the_published_algorithm(signed_tiny: SignResult) -> None:
    """pefile adds up words as the documentation does; ours divides one large number."""
    image = signed_tiny.read()
    assert (
        pe_checksum(image, read_headers(image).checksum_offset) == pefile.PE(data=image).generate_checksum()
    )
