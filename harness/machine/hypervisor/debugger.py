"""Debuggers on a machine: QEMU's gdb stub, and the serial port that a kernel debugger speaks on."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.machine.hypervisor.machine import Machine

__all__ = ["DebuggerPorts", "open_debugger"]

_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class DebuggerPorts:
    """Where debuggers connect. `kernel` is 0 for a machine without a debug port."""

    gdb: Path
    kernel: int

    @property
    def instructions(self) -> str:
        """The lines to paste."""
        lines = [
            "gdb, the processors of the machine:",
            f"    gdb -ex 'target remote {self.gdb}'",
        ]
        if self.kernel:
            lines += [
                "WinDbg, the kernel debugger's serial port (needs bcdedit /debug on in the guest):",
                f"    windbg -k com:ipport={self.kernel},port=127.0.0.1",
                "    from another computer: ssh -L "
                f"{self.kernel}:127.0.0.1:{self.kernel} THIS-HOST, then the same line there",
                "anything else that speaks on the port, a Linux console for one:",
                f"    socat -,raw,echo=0 TCP:127.0.0.1:{self.kernel}",
            ]
        else:
            lines.append("the machine has no debug port: hardware.debug_com of its recipe gives it one")
        lines.append("Ctrl-C here ends the machine.")
        return "\n".join(lines)


@contextmanager
def open_debugger(machine: Machine) -> Iterator[DebuggerPorts]:
    """Open the ports for as long as the block. Raises `InfrastructureError` when QEMU refuses."""
    gdb = machine.spec.folder / "gdb.sock"
    with ExitStack() as stack:
        answer = machine.hmp(f"gdbserver unix:{gdb},server=on,wait=off")
        stack.callback(_close_gdb, machine)
        if not gdb.exists():
            raise InfrastructureError(f"QEMU opened no gdb stub: {answer.strip() or 'it gave no reason'}")
        kernel = 0
        if machine.spec.hardware.debug_com:
            kernel = stack.enter_context(_relay(machine.spec.debug_socket))
        yield DebuggerPorts(gdb, kernel)


def _close_gdb(machine: Machine) -> None:
    with contextlib.suppress(InfrastructureError):  # the machine may be gone
        machine.hmp("gdbserver none")


@contextmanager
def _relay(path: Path) -> Iterator[int]:
    """A port of 127.0.0.1 in front of a unix socket, one client after the other; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closing = threading.Event()
        thread = threading.Thread(target=_accept, args=(server, path, closing), daemon=True)
        thread.start()
        port = int(server.getsockname()[1])
        try:
            yield port
        finally:
            closing.set()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                pass  # wakes the thread
            thread.join()


def _accept(server: socket.socket, path: Path, closing: threading.Event) -> None:
    while not closing.is_set():
        client, _ = server.accept()
        with client, socket.socket(socket.AF_UNIX) as guest, contextlib.suppress(OSError):
            if closing.is_set():
                return
            guest.connect(str(path))
            _pump(client, guest, closing)


def _pump(one: socket.socket, other: socket.socket, closing: threading.Event) -> None:
    """Bytes both ways until one side ends."""
    with selectors.DefaultSelector() as ready:
        ready.register(one, selectors.EVENT_READ, other)
        ready.register(other, selectors.EVENT_READ, one)
        while not closing.is_set():
            for key, _ in ready.select(timeout=0.5):
                source = key.fileobj
                assert isinstance(source, socket.socket)
                data = source.recv(_CHUNK)
                if not data:
                    return
                key.data.sendall(data)
