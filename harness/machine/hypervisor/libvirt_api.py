"""libvirt's Python modules, its event loop and its errors, brought into the harness's shape.

Everything of libvirt that is one per process is here: the modules, the event loop, the silenced printers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from harness.errors import InfrastructureError, ToolMissingError

# libvirt reads this once, when it is imported. Unset, it writes warnings about every machine to stderr.
_LOG: Final = "LIBVIRT_LOG_OUTPUTS"
_quiet: Final = _LOG not in os.environ
if _quiet:
    os.environ[_LOG] = "4:file:/dev/null"
try:
    import libvirt
    import libvirt_qemu
except ImportError as error:
    raise ToolMissingError(
        "machines need libvirt-python: pip install 'regfilter-harness[machines]'; before, "
        "to compile it: apt-get install libvirt-dev libvirt-daemon-driver-qemu qemu-system-x86 pkg-config gcc"
    ) from error
finally:
    if _quiet:
        del os.environ[_LOG]

__all__ = ["is_gone", "libvirt", "libvirt_qemu", "run_event_loop", "translated"]

_NEXT_STEP: Final = {
    libvirt.VIR_ERR_NO_CONNECT: "install libvirt's QEMU driver: apt-get install libvirt-daemon-driver-qemu",
    libvirt.VIR_ERR_NO_SUPPORT: "install libvirt's QEMU driver: apt-get install libvirt-daemon-driver-qemu",
    libvirt.VIR_ERR_AUTH_FAILED: "use qemu:///embed, the default, which needs no rights",
    libvirt.VIR_ERR_CPU_INCOMPATIBLE: "name another CPU model in the hardware, such as 'qemu64'",
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: "this libvirt or QEMU can't do what the hardware asks for",
    libvirt.VIR_ERR_OPERATION_TIMEOUT: "another call holds this machine; end it with `harness clean`",
}

_lock: Final = threading.Lock()
_loop: threading.Thread | None = None


def run_event_loop() -> None:
    """Start libvirt's event loop in a thread of this process; must come before the first connection."""
    global _loop
    with _lock:
        if _loop is not None:
            return
        libvirt.registerErrorHandler(_say_nothing, None)
        libvirt.virEventRegisterDefaultImpl()
        _loop = threading.Thread(target=_turn, name="libvirt-events", daemon=True)
        _loop.start()


def _turn() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _say_nothing(context: object, error: object) -> None:
    """libvirt prints every error, also those that are expected and handled, unless told otherwise."""


@contextmanager
def translated(doing: str, otherwise: str = "") -> Iterator[None]:
    """libvirt's errors become `InfrastructureError`: what was tried, libvirt's words, the next step.

    `otherwise` is the step where libvirt's error code suggests none.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        step = _NEXT_STEP.get(error.get_error_code(), otherwise)
        raise InfrastructureError(f"{doing}: {error}" + (f"; {step}" if step else "")) from error


def is_gone(error: Any) -> bool:
    """Whether a libvirtError says that the domain exists no longer or runs no longer."""
    return error.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}
