"""Registry calls that the probe makes on request, outside any callback: kernel-mode callers for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.errors import InfrastructureError, UsageError
from harness.probe import abi
from harness.probe.enums import CallFlag, InnerCall
from harness.probe.link import Link
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.status import status_name
from harness.registry.valuetypes import ValueType

__all__ = ["KernelCallResult", "KernelCalls"]


@dataclass(frozen=True, slots=True)
class KernelCallResult:
    """What the call gave; has a place in a trace: ``probe.trace.of(result)``."""

    #: Of the call that was asked for (unsigned).
    status: int
    #: Of opening or creating its key.
    open_status: int
    disposition: int
    result_length: int
    process_id: int
    thread_id: int
    begin: int
    end: int
    #: The key object of the opened handle.
    object: int
    #: Kernel addresses of the data (or output) buffer and of the name that were passed (B-CAP-02).
    data_address: int
    name_address: int
    #: The output, as much as the reply holds.
    data: bytes

    @property
    def succeeded(self) -> bool:
        """NT_SUCCESS."""
        return self.status < 0x8000_0000

    @property
    def status_name(self) -> str:
        """e.g. STATUS_ACCESS_DENIED."""
        return status_name(self.status)


class KernelCalls:
    """`probe.kernel_call`: each call opens (or creates) the key at an absolute path first and closes it last.

    `work_item` runs it on a system worker thread, `force_access_check` with OBJ_FORCE_ACCESS_CHECK,
    `open_link` with OBJ_OPENLINK.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    def open_key(self, path: str, **options: Any) -> KernelCallResult:
        """ZwOpenKey."""
        return self.call(InnerCall.OPEN_KEY, path, **options)

    def create_key(self, path: str, **options: Any) -> KernelCallResult:
        """ZwCreateKey."""
        return self.call(InnerCall.CREATE_KEY, path, **options)

    def delete_key(self, path: str, **options: Any) -> KernelCallResult:
        """ZwDeleteKey."""
        return self.call(InnerCall.DELETE_KEY, path, **options)

    def query_value(self, path: str, name: str, **options: Any) -> KernelCallResult:
        """ZwQueryValueKey; `data` is KEY_VALUE_PARTIAL_INFORMATION."""
        return self.call(InnerCall.QUERY_VALUE, path, value=name, **options)

    def set_value(
        self, path: str, name: str, data: bytes, *, type: int = ValueType.BINARY, **options: Any
    ) -> KernelCallResult:
        """ZwSetValueKey."""
        return self.call(InnerCall.SET_VALUE, path, value=name, data=data, value_type=type, **options)

    def delete_value(self, path: str, name: str, **options: Any) -> KernelCallResult:
        """ZwDeleteValueKey."""
        return self.call(InnerCall.DELETE_VALUE, path, value=name, **options)

    def enumerate_key(self, path: str, index: int = 0, **options: Any) -> KernelCallResult:
        """ZwEnumerateKey."""
        return self.call(InnerCall.ENUMERATE_KEY, path, index=index, **options)

    def query_key(self, path: str, **options: Any) -> KernelCallResult:
        """ZwQueryKey."""
        return self.call(InnerCall.QUERY_KEY, path, **options)

    def flush_key(self, path: str, **options: Any) -> KernelCallResult:
        """ZwFlushKey."""
        return self.call(InnerCall.FLUSH_KEY, path, **options)

    def query_name(self, path: str, **options: Any) -> KernelCallResult:
        """ObQueryNameString on the opened key."""
        return self.call(InnerCall.QUERY_NAME, path, **options)

    def call(
        self,
        call: InnerCall,
        path: str,
        *,
        value: str = "",
        data: bytes = b"",
        value_type: int = 0,
        index: int = 0,
        access: int = KEY_ALL_ACCESS,
        work_item: bool = False,
        force_access_check: bool = False,
        open_link: bool = False,
    ) -> KernelCallResult:
        """Any of the calls. A failing call is a result; `ProbeError` means the request was refused."""
        flags = CallFlag(0)
        flags |= CallFlag.WORK_ITEM if work_item else CallFlag(0)
        flags |= CallFlag.FORCE_ACCESS_CHECK if force_access_check else CallFlag(0)
        flags |= CallFlag.OPEN_LINK if open_link else CallFlag(0)
        reply = self._link.call(
            "IOCTL_REGPROBE_KERNEL_CALL",
            "REGPROBE_KERNEL_CALL",
            "REGPROBE_KERNEL_CALL_REPLY",
            f"kernel call {call.name.lower()}",
            call=int(call),
            flags=int(flags),
            access=access,
            value_type=int(value_type),
            index=index,
            **_text("target", path),
            **_text("value_name", value),
            **_bytes(data),
        )
        if reply["time_end"] < reply["time_begin"]:
            raise InfrastructureError(
                f"the probe's kernel call ends at {reply['time_end']}, before its begin {reply['time_begin']}"
            )
        return KernelCallResult(
            status=reply["status"] & 0xFFFF_FFFF,
            open_status=reply["open_status"] & 0xFFFF_FFFF,
            disposition=reply["disposition"],
            result_length=reply["result_length"],
            process_id=reply["process_id"],
            thread_id=reply["thread_id"],
            begin=reply["time_begin"],
            end=reply["time_end"],
            object=reply["object"],
            data_address=reply["data_address"],
            name_address=reply["name_address"],
            data=reply["data"][: reply["result_length"]],
        )


def _text(field: str, text: str) -> dict[str, Any]:
    raw = text.encode("utf-16-le", "surrogatepass")
    limit = abi.dtype("REGPROBE_KERNEL_CALL")[field].itemsize
    if len(raw) > limit:
        raise UsageError(f"{field} has {len(raw) // 2} UTF-16 units, a kernel call holds {limit // 2}")
    return {field: raw, f"{field}_length": len(raw)}


def _bytes(data: bytes) -> dict[str, Any]:
    limit = abi.constant("REGPROBE_MAX_DATA")
    if len(data) > limit:
        raise UsageError(f"{len(data)} bytes of data; a kernel call holds {limit}")
    return {"data": bytes(data), "data_length": len(data)}
