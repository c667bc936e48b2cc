"""A guest of a few kilobytes, up in a second under TCG, without any download. tiny.c says what it can do."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.machine.describe.spec import ChannelPort, DirectBoot, Hardware

__all__ = ["FLAGS", "TinyLine", "build", "compiler", "tiny_boot", "tiny_hardware"]

SOURCE = Path(__file__).parent
#: For programs without an operating system.
FLAGS = [
    "-m32",
    "-march=i586",
    "-mno-sse",
    "-std=gnu11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffreestanding",
    "-fno-pic",
    "-fno-pie",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-nostdlib",
    "-static",
    "-Wl,--build-id=none",
    "-Wl,-z,noexecstack",
    "-Wl,--no-warn-rwx-segments",
]


def compiler() -> str:
    found = shutil.which("gcc")
    assert found, "the tiny guest is compiled by gcc: apt-get install gcc"
    return found


def build(folder: Path) -> Path:
    """Compile it: a multiboot kernel for `DirectBoot`."""
    output = folder / "tiny.elf"
    sources = [str(SOURCE / "boot.S"), str(SOURCE / "tiny.c")]
    subprocess.run(
        [compiler(), *FLAGS, "-T", str(SOURCE / "link.ld"), *sources, "-o", str(output)], check=True
    )
    return output


def tiny_hardware(**changes: object) -> Hardware:
    """What it needs: COM2 for its lines, COM1 for its debug text, 64 MB."""
    settings: dict[str, object] = {
        "machine": "pc",
        "cpu": "qemu64",
        "memory_mib": 64,
        "channel": ChannelPort.COM2,
        "debug_com": 1,
    }
    return Hardware(**{**settings, **changes})  # type: ignore[arg-type]


def tiny_boot(kernel: Path, hardware: Hardware | None = None) -> DirectBoot:
    """How it is started, with its ports where `hardware` has them."""
    hardware = hardware or tiny_hardware()
    debug = f"com{hardware.debug_com}" if hardware.debug_com else "none"
    return DirectBoot(kernel, command_line=f"channel={hardware.channel} debug={debug}")


class TinyLine:
    """The host's end of its line protocol; a context manager. Connecting waits until it answers."""

    def __init__(self, path: Path, *, timeout: float = 300.0) -> None:
        self.timeout = timeout
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        """What is sent while it boots may be lost in part, so it is asked again until it answers."""
        deadline = time.monotonic() + self.timeout
        token = f"echo up-{time.monotonic_ns():x}"
        while True:
            self._socket.sendall(f"\n{token}\n".encode())
            self._socket.settimeout(0.25)
            try:
                while self._line() != token.removeprefix("echo "):
                    pass
                break
            except TimeoutError:
                assert time.monotonic() < deadline, (
                    f"the tiny guest does not answer within {self.timeout:g} s"
                )
        last = f"done-{time.monotonic_ns():x}"
        self.send(f"echo {last}")
        self._socket.settimeout(self.timeout)
        while self._line() != last:
            pass

    def _line(self) -> str:
        while b"\n" not in self._buffer:
            data = self._socket.recv(4096)
            if not data:
                raise ConnectionError("the tiny guest's port was closed")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("ascii", "replace")

    def send(self, line: str) -> None:
        """Say something that isn't answered: "hang", "stop d1 1 2 3 4"."""
        self._socket.sendall(line.encode() + b"\n")

    def ask(self, line: str) -> str:
        """Say something and return the answer."""
        self.send(line)
        self._socket.settimeout(self.timeout)
        return self._line()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
