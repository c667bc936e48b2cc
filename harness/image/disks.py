"""What a disk image is, as qemu-img sees it, before anything is booted from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import InfrastructureError, UsageError
from harness.image.tools import find_tool, run
from harness.machine.spec import DiskFormat

__all__ = ["DiskFacts", "inspect_disk"]

_QEMU_FORMATS: Final = {DiskFormat.QCOW2: "qcow2", DiskFormat.RAW: "raw", DiskFormat.VHDX: "vhdx"}


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """A disk that stands alone. Sizes in bytes: what the guest sees, what it takes on this host."""

    path: Path
    format: DiskFormat
    virtual_size: int
    actual_size: int


def inspect_disk(path: Path, format: DiskFormat) -> DiskFacts:
    """Check that `path` is a disk of that format and refers to no other file.

    A backing file or an external data file would be opened by name, wherever it leads, and changed under the
    machine. Raises `UsageError` that says what to do, `ToolMissingError` without qemu-img.
    """
    try:
        said = run([find_tool("qemu-img"), "info", "--output=json", "-f", _QEMU_FORMATS[format], str(path)])
        info: dict[str, Any] = json.loads(said)
    except InfrastructureError as error:
        detail = str(error).splitlines()[-1].strip()
        raise UsageError(
            f"{path} can't be read as {format}: {detail}; say which format it is (qemu-img info {path})"
        ) from error
    except ValueError as error:
        raise InfrastructureError(f"qemu-img info {path} said no JSON: {said[:200]}") from error
    specific = info.get("format-specific", {}).get("data", {})
    for key, what in (
        (info.get("backing-filename"), "a backing file"),
        (specific.get("data-file"), "an external data file"),
    ):
        if key:
            raise UsageError(
                f"{path} is not whole: it needs {what}, {key}; make one disk of both first: "
                f"qemu-img convert -O qcow2 {path} whole.qcow2"
            )
    if info.get("encrypted") or specific.get("encrypt"):
        raise UsageError(f"{path} is encrypted; decrypt it first: qemu-img convert")
    if format is DiskFormat.QCOW2 and specific.get("corrupt"):
        raise UsageError(f"{path} is marked corrupt; look at it with qemu-img check")
    return DiskFacts(path, format, int(info["virtual-size"]), int(info.get("actual-size", 0)))
