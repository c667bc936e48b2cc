"""The request that brings a guest down on purpose."""

from __future__ import annotations

from harness.errors import UsageError
from harness.probe import abi
from harness.probe.enums import CrashWay

__all__ = ["crash_request"]


def crash_request(
    way: CrashWay, code: int, parameters: tuple[int, int, int, int], *, pointer_size: int
) -> bytes:
    """REGPROBE_CRASH. Raises `UsageError` for a parameter that does not fit into the guest's ULONG_PTR."""
    for number, parameter in enumerate(parameters, 1):
        if not 0 <= parameter < 1 << (8 * pointer_size):
            raise UsageError(
                f"bugcheck parameter {number}, {parameter:#x}, needs more than {8 * pointer_size} bits"
            )
    packed = b"".join(parameter.to_bytes(8, "little") for parameter in parameters)
    return abi.record("REGPROBE_CRASH").pack(how=int(way), code=code, parameters=packed)
