"""A few words of gdb's remote protocol (gdb manual, appendix E), spoken to QEMU's stub."""

from __future__ import annotations

import socket
from pathlib import Path

__all__ = ["ask_gdb"]


def packet(text: str) -> bytes:
    return f"${text}#{sum(text.encode()) & 0xFF:02x}".encode()


def ask_gdb(path: Path, *requests: str) -> list[str]:
    """Send packets; the answer to each. "c" lets the machine go on, comes last, and has none."""
    answers = []
    with socket.socket(socket.AF_UNIX) as gdb:
        gdb.settimeout(300)
        gdb.connect(str(path))
        for request in requests:
            gdb.sendall(packet(request))
            if request == "c":
                gdb.recv(1)  # "+": it was read. Any further byte to it would stop the machine again
                break
            data = b""
            while b"#" not in data:
                data += gdb.recv(4096)
            answers.append(data.decode().lstrip("+"))
            gdb.sendall(b"+")
    return answers
