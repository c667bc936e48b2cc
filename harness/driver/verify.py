"""Is this image one that Windows would take, and one we would want it to? A list of named checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pefile

from harness.driver.image import (
    IMAGE_SCN_MEM_DISCARDABLE,
    IMAGE_SCN_MEM_EXECUTE,
    IMAGE_SCN_MEM_WRITE,
    pe_checksum,
    read_headers,
)
from harness.driver.imports import newer_imports
from harness.driver.signature import SignatureReport, check_signature
from harness.errors import UsageError

__all__ = ["VerifyCheck", "VerifyReport", "verify_bytes", "verify_image"]

_MACHINES: Final = {0x8664: "x64", 0x14C: "x86"}
_SUBSYSTEM_NATIVE: Final = 1
_DLL_HIGH_ENTROPY_VA: Final = 0x0020
_DLL_DYNAMIC_BASE: Final = 0x0040
_DLL_NX_COMPAT: Final = 0x0100
_DIRECTORY_RELOCATIONS: Final = 5
_RELOCS_STRIPPED: Final = 0x0001
_DIRECTORIES_READ: Final = ("IMAGE_DIRECTORY_ENTRY_IMPORT",)


@dataclass(frozen=True, slots=True)
class VerifyCheck:
    """One statement about an image: `why` says what was found, good or bad."""

    name: str
    ok: bool
    why: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Every check of one image, in a fixed order. `arch` is "" when the file is no image we know."""

    path: str
    arch: str
    checks: tuple[VerifyCheck, ...]
    signature: SignatureReport

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def failed(self) -> tuple[VerifyCheck, ...]:
        return tuple(check for check in self.checks if not check.ok)

    def check(self, name: str) -> VerifyCheck:
        """The check called `name`; raises `KeyError`."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)


def verify_image(path: Path | str) -> VerifyReport:
    """Check the image at `path`. Raises `UsageError` when the file can't be read."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    return verify_bytes(data, name=str(path))


def verify_bytes(image: bytes, *, name: str = "image") -> VerifyReport:
    """Check an image in memory; never raises on hostile content, the failing check says what is wrong."""
    signature = check_signature(image)
    try:
        headers = read_headers(image)
        pe = pefile.PE(data=image, fast_load=True)
        pe.parse_data_directories([pefile.DIRECTORY_ENTRY[entry] for entry in _DIRECTORIES_READ])
    except Exception as error:  # pefile runs into all kinds of exceptions on malformed headers
        bad = VerifyCheck("image", ok=False, why=f"not a driver image: {error}"[:300])
        return VerifyReport(
            path=name, arch="", checks=(bad, *_signature_checks(signature)), signature=signature
        )
    arch = _MACHINES.get(headers.machine, "")
    checks = [
        VerifyCheck("image", bool(arch), f"machine {headers.machine:#x}" + (f" ({arch})" if arch else ""))
    ]
    checksum = pe_checksum(image, headers.checksum_offset)
    stored = int(pe.OPTIONAL_HEADER.CheckSum)
    for title, check in _IMAGE_CHECKS:
        ok, why = check(pe, arch)
        checks.append(VerifyCheck(title, ok, why))
    checks.append(
        VerifyCheck(
            "checksum",
            stored == checksum,
            f"{stored:#x}" + ("" if stored == checksum else f", is {checksum:#x}"),
        )
    )
    checks.extend(_signature_checks(signature))
    return VerifyReport(path=name, arch=arch, checks=tuple(checks), signature=signature)


def _subsystem(pe: Any, _arch: str) -> tuple[bool, str]:
    optional = pe.OPTIONAL_HEADER
    version = f"{optional.MajorSubsystemVersion}.{optional.MinorSubsystemVersion}"
    return optional.Subsystem == _SUBSYSTEM_NATIVE, f"subsystem {optional.Subsystem}, version {version}"


def _flag(bit: int) -> Callable[[Any, str], tuple[bool, str]]:
    def check(pe: Any, _arch: str) -> tuple[bool, str]:
        found = int(pe.OPTIONAL_HEADER.DllCharacteristics)
        return bool(found & bit), f"DllCharacteristics {found:#06x}"

    return check


def _high_entropy(pe: Any, arch: str) -> tuple[bool, str]:
    if arch != "x64":
        return True, "x64 only"
    return _flag(_DLL_HIGH_ENTROPY_VA)(pe, arch)


def _relocations(pe: Any, _arch: str) -> tuple[bool, str]:
    if pe.FILE_HEADER.Characteristics & _RELOCS_STRIPPED:
        return False, "stripped: the image loads at its preferred base only"
    directories = pe.OPTIONAL_HEADER.DATA_DIRECTORY
    size = directories[_DIRECTORY_RELOCATIONS].Size if len(directories) > _DIRECTORY_RELOCATIONS else 0
    return True, f"{size} bytes" if size else "none needed: the code is position independent"


def _section_name(section: Any) -> str:
    return str(section.Name.rstrip(b"\0").decode("ascii", "replace"))


def _no_writable_code(pe: Any, _arch: str) -> tuple[bool, str]:
    both = IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_WRITE
    bad = [_section_name(section) for section in pe.sections if section.Characteristics & both == both]
    return not bad, f"writable and executable: {', '.join(bad)}" if bad else f"{len(pe.sections)} sections"


def _init_discardable(pe: Any, _arch: str) -> tuple[bool, str]:
    found = [section for section in pe.sections if _section_name(section) == "INIT"]
    if not found:
        return True, "no INIT section"
    ok = all(section.Characteristics & IMAGE_SCN_MEM_DISCARDABLE for section in found)
    return ok, "freed after DriverEntry" if ok else "INIT stays in memory: not flagged discardable"


def _entry_point(pe: Any, _arch: str) -> tuple[bool, str]:
    entry = int(pe.OPTIONAL_HEADER.AddressOfEntryPoint)
    for section in pe.sections:
        if (
            section.VirtualAddress
            <= entry
            < section.VirtualAddress + max(section.Misc_VirtualSize, section.SizeOfRawData)
        ):
            executable = bool(section.Characteristics & IMAGE_SCN_MEM_EXECUTE)
            return executable, f"{entry:#x} in {_section_name(section)}" + (
                "" if executable else ", not executable"
            )
    return False, f"{entry:#x} lies in no section"


def _static_imports(pe: Any) -> Iterator[str]:
    for module in getattr(pe, "DIRECTORY_ENTRY_IMPORT", []):
        for entry in module.imports:
            if entry.name:
                yield entry.name.decode("ascii", "replace")


def _imports_fit(pe: Any, _arch: str) -> tuple[bool, str]:
    optional = pe.OPTIONAL_HEADER
    version = (int(optional.MajorSubsystemVersion), int(optional.MinorSubsystemVersion))
    names = list(_static_imports(pe))
    newer = newer_imports(names, version)
    shown = f"{version[0]}.{version[1]}"
    if newer:
        return False, f"newer than {shown}, which the image claims to load on: {', '.join(newer)}"
    return True, f"{len(names)} routines, none newer than {shown}"


_IMAGE_CHECKS: Final[tuple[tuple[str, Callable[[Any, str], tuple[bool, str]]], ...]] = (
    ("native subsystem", _subsystem),
    ("entry point", _entry_point),
    ("NX compatible", _flag(_DLL_NX_COMPAT)),
    ("dynamic base", _flag(_DLL_DYNAMIC_BASE)),
    ("high entropy", _high_entropy),
    ("relocations", _relocations),
    ("no writable code", _no_writable_code),
    ("INIT discardable", _init_discardable),
    ("imports", _imports_fit),
)


def _signature_checks(signature: SignatureReport) -> tuple[VerifyCheck, ...]:
    page_hashes = {None: "none", True: "match", False: "don't match the image"}[signature.page_hashes_ok]
    # A signature that can't be read says nothing about digests: its problem is the reason everywhere.
    digest = "matches" if signature.digest_ok else (signature.problem or "doesn't match")
    signer = (
        signature.subject if signature.signature_valid else (signature.problem or "the signature is wrong")
    )
    return (
        VerifyCheck("signed", signature.signed, signature.digest_algorithm or signature.problem),
        VerifyCheck("digest", signature.digest_ok, digest),
        VerifyCheck("page hashes", signature.page_hashes_ok is not False, page_hashes),
        VerifyCheck("certificate", signature.signature_valid, signer),
    )
