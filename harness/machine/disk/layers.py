"""Overlays from another host, laid on a disk of this one.

An overlay names the disk below it by a path of the host that made it; whoever writes overlays may name any
file, /etc/shadow or a device, and its content becomes the guest's. So a name from elsewhere is never
followed: this process reads the header, qemu-img writes another name into it without looking at the old one,
and only then anything opens the overlay as a disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.machine.describe.spec import Disk, DiskFormat
from harness.machine.disk.disks import virtual_size
from harness.machine.disk.qcow2 import Qcow2Header, read_header
from harness.machine.disk.qemu_img import run_qemu_img

__all__ = ["lay_over"]

#: `qemu-img check` found clusters that nothing uses: room lost, no harm (qemu-img(1), "check").
_LEAKS: Final = 3


def lay_over(layers: Sequence[Path], base: Disk) -> Path:
    """Have the overlays `layers`, the topmost first, lie on each other and on `base`; returns the topmost.

    They are changed in place, `base` is not. Raises `UsageError` for a file that is no overlay of a disk as
    large as `base`, or can't be read as one.
    """
    size = virtual_size(base.path, base.format)
    below, format = base.path.absolute(), base.format
    for layer in reversed(layers):
        _check(layer, size)
        # "-u" takes the new name and looks at neither the old disk nor the new one.
        run_qemu_img("rebase", layer, "-u", "-f", "qcow2", "-F", format.value, "-b", str(below))
        header = read_header(layer)
        if header is None or (header.backing_file, header.backing_format) != (str(below), format.value):
            raise UsageError(f"{layer.name} still names {_named(header)} as the disk below it; it is damaged")
        run_qemu_img("check", layer, "-q", "-f", "qcow2", also=(_LEAKS,))
        below, format = layer.absolute(), DiskFormat.QCOW2
    return below


def _check(layer: Path, size: int) -> None:
    header = read_header(layer)
    if header is None or header.backing_file is None or header.data_file:
        raise UsageError(f"{layer.name} is no overlay that has its data in itself; it is not a harness's")
    if header.encrypted or header.corrupt or header.snapshots:
        raise UsageError(f"{layer.name} is encrypted, marked corrupt or has snapshots; it is not a harness's")
    if header.virtual_size != size:
        raise UsageError(
            f"{layer.name} is an overlay of a disk of {header.virtual_size} bytes, this host's has {size}; "
            "it was written over another one"
        )


def _named(header: Qcow2Header | None) -> str:
    return "nothing" if header is None else repr(header.backing_file)
