"""Loads driver images: maps them, adjusts and binds them, and takes them away again."""

from __future__ import annotations

import secrets
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import DriverRefusedError
from harness.guest import Arch
from harness.reference.cr8 import serve_cr8
from harness.reference.faults import MemoryExhausted
from harness.reference.layout import PAGE, PAGE_MASK
from harness.reference.memory import EXECUTE, PAGEABLE, READ, WRITE
from harness.reference.modules import Driver, Function, Section
from harness.reference.pe import (
    INVALID_IMAGE_FORMAT,
    SCN_DISCARDABLE,
    SCN_EXECUTE,
    SCN_READ,
    SCN_WRITE,
    PeImage,
    parse,
)
from harness.reference.refusal import refusal

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["Driver", "Loader"]

CONFLICTING_ADDRESSES: Final = 0xC0000018
INSUFFICIENT_RESOURCES: Final = 0xC000009A

#: Gap between images: a driver that runs off its end meets nothing.
_GAP: Final = 0x10000
_DEFAULT_COOKIES: Final = (0, 0x2B99_2DDF_A232, 0xBB40_E64E, 0xBB40)


class Loader:
    """The image loader of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._next = machine.memory.map.drivers.start

    def load(self, data: bytes, name: str, *, path: Path | None = None) -> Driver:
        """Map the image file `data` as `name` and bind its imports; does not call its entry point.

        `path` is where the file came from, for its symbols. Raises `DriverRefusedError` with the NTSTATUS
        that loading would give: STATUS_INVALID_IMAGE_FORMAT, STATUS_CONFLICTING_ADDRESSES (it can't be moved
        and its place is taken), STATUS_DRIVER_ENTRYPOINT_NOT_FOUND with every import that can't be bound.
        """
        machine = self._machine
        image = parse(bytes(data))
        if image.arch is not machine.arch:
            raise DriverRefusedError(
                f"{name} is an {image.arch} image and this is {machine.arch} Windows",
                status=INVALID_IMAGE_FORMAT,
            )
        self._check_imports(image, name)
        base = self._place(image, name)
        content = bytearray(image.laid_out)
        self._relocate(image, content, base)
        self._bind(image, content)
        self._cookie(image, content)
        try:
            sections = self._map(image, content, base)
        except MemoryExhausted:
            raise DriverRefusedError(
                f"{name} does not fit into memory", status=INSUFFICIENT_RESOURCES
            ) from None
        driver = Driver(
            name=name,
            base=base,
            size=(image.size + PAGE_MASK) & ~PAGE_MASK,
            entry=base + image.entry,
            sections=sections,
            functions=tuple(Function(*f) for f in image.functions),
            image=bytes(data),
            path=path,
            slide=base - image.base,
            table=base + image.function_table if image.function_table else 0,
            declined=self._declined(image),
        )
        machine.modules.add(driver)
        machine.cpu.flush_code()
        if machine.arch is Arch.X64:
            serve_cr8(self._machine.cpu, driver, content)
        return driver

    def unload(self, driver: Driver) -> None:
        """Take an image away; its addresses are not used again, so that code or data kept too long faults."""
        self._machine.modules.remove(driver)
        self._machine.memory.unmap_pages(driver.base, driver.size // PAGE)
        self._machine.cpu.flush_code()
        self._machine.import_thunks.forget(driver)

    def discard_init(self, driver: Driver) -> None:
        """Free the discardable sections, as Windows does once DriverEntry has succeeded."""
        for section in parse(driver.image).sections:
            if section.flags & SCN_DISCARDABLE and section.flags & SCN_EXECUTE and section.name == "INIT":
                start = driver.base + ((section.rva + PAGE_MASK) & ~PAGE_MASK)
                end = driver.base + ((section.rva + section.size) & ~PAGE_MASK)
                following = [s.rva for s in parse(driver.image).sections if s.rva > section.rva]
                if not following or min(following) & PAGE_MASK == 0:
                    end = driver.base + ((section.rva + section.size + PAGE_MASK) & ~PAGE_MASK)
                if end > start:
                    self._machine.memory.unmap_pages(start, (end - start) // PAGE)
        self._machine.cpu.flush_code()

    # --- steps -----------------------------------------------------------------------------------

    def _check_imports(self, image: PeImage, name: str) -> None:
        machine = self._machine
        missing = [each for each in image.imports if machine.exports.find(each.module, each.name) is None]
        if missing:
            raise refusal(name, missing, machine.exports, f"{machine.version} ({machine.arch})")

    def _declined(self, image: PeImage) -> tuple[str, ...]:
        found = (self._machine.exports.find(wanted.module, wanted.name) for wanted in image.imports)
        return tuple(sorted(each.name for each in found if each is not None and each.declined))

    def _place(self, image: PeImage, name: str) -> int:
        machine = self._machine
        size = (image.size + PAGE_MASK) & ~PAGE_MASK
        if not image.relocatable:
            return self._preferred(image, name, size)
        region = machine.memory.map.drivers
        for _attempt in range(2):
            while self._next + size + _GAP <= region.end:
                base = self._next
                if not self._taken(base, size):
                    self._next = (base + size + 2 * _GAP - 1) & -_GAP
                    return base
                self._next += _GAP
            self._next = region.start
        raise DriverRefusedError(f"no room for {name} in the address space", status=INSUFFICIENT_RESOURCES)

    def _preferred(self, image: PeImage, name: str, size: int) -> int:
        """Where the linker put an image that can't be moved; user space is never free for a driver."""
        memory = self._machine.memory
        base = image.base
        if base < memory.map.system_start or base + size > memory.map.address_mask or self._taken(base, size):
            raise DriverRefusedError(
                f"{name} was linked without relocations for {base:#x}, no place for a driver; link "
                "it with relocations (/DYNAMICBASE, or --dynamicbase --enable-reloc-section)",
                status=CONFLICTING_ADDRESSES,
            )
        return base

    def _taken(self, base: int, size: int) -> bool:
        memory = self._machine.memory
        return any(page in memory.pages for page in range(base >> 12, (base + size) >> 12))

    def _relocate(self, image: PeImage, content: bytearray, base: int) -> None:
        delta = base - image.base
        if not delta:
            return
        form = struct.Struct("<Q" if image.arch is Arch.X64 else "<I")
        mask = self._machine.memory.map.address_mask
        for place in image.relocations:
            form.pack_into(content, place, form.unpack_from(content, place)[0] + delta & mask)

    def _bind(self, image: PeImage, content: bytearray) -> None:
        form = "<Q" if image.arch is Arch.X64 else "<I"
        for wanted in image.imports:
            found = self._machine.exports.find(wanted.module, wanted.name)
            assert found is not None  # _check_imports
            struct.pack_into(form, content, wanted.slot, self._machine.exports.address_of(found.name))

    def _cookie(self, image: PeImage, content: bytearray) -> None:
        """A fresh security cookie: code built with /GS refuses to start with the linker's default value."""
        if not image.cookie:
            return
        value = 0
        while value in _DEFAULT_COOKIES:
            value = secrets.randbits(48 if image.arch is Arch.X64 else 32)
        struct.pack_into("<Q" if image.arch is Arch.X64 else "<I", content, image.cookie, value)

    def _map(self, image: PeImage, content: bytearray, base: int) -> tuple[Section, ...]:
        memory = self._machine.memory
        pages = (image.size + PAGE_MASK) // PAGE
        # Images with an alignment below a page can't be protected; Windows maps them writable and executable.
        flat = image.alignment < PAGE
        memory.map_pages(base, pages, READ | WRITE | EXECUTE if flat else READ)
        memory.write(base, content, force=True)
        found = []
        for section in image.sections:
            rights = _rights(section.flags)
            if section.name.startswith("PAGE"):
                rights |= PAGEABLE
            found.append(Section(section.name, base + section.rva, section.size, rights))
            if not flat:
                first, last = section.rva & ~PAGE_MASK, section.rva + max(section.size, 1)
                memory.protect(base + first, (last - first + PAGE_MASK) // PAGE, rights)
        return tuple(found)


def _rights(flags: int) -> int:
    rights = READ if flags & (SCN_READ | SCN_EXECUTE | SCN_WRITE) else 0
    if flags & SCN_WRITE:
        rights |= WRITE
    if flags & SCN_EXECUTE:
        rights |= EXECUTE
    return rights
