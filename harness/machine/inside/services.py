"""A driver's service in a guest: made as the driver needs it, and how starting or stopping it ended.

Whoever was asked to start it, the answer is an NTSTATUS, or a refusal of the image.
"""

from __future__ import annotations

from typing import Final

from harness.channel.answers import ServiceOutcome
from harness.channel.runner import RunnerClient
from harness.driver.minifilter import LOAD_ORDER_GROUP, instance_keys, is_minifilter
from harness.errors import DriverRefusedError
from harness.guest.base import DriverParameters
from harness.registry.status import NTSTATUS, status_name

__all__ = ["create_service", "entry_status", "stop_status"]

#: Win32 errors of the service control manager and the statuses they were made of ([MS-ERREF] 2.2; the
#: mapping is RtlNtStatusToDosError's).
_WIN32: Final = {
    0: 0x00000000,
    2: 0xC0000034,  # ERROR_FILE_NOT_FOUND: OBJECT_NAME_NOT_FOUND
    3: 0xC000003A,  # ERROR_PATH_NOT_FOUND: OBJECT_PATH_NOT_FOUND
    5: 0xC0000022,  # ERROR_ACCESS_DENIED
    31: 0xC0000001,  # ERROR_GEN_FAILURE: UNSUCCESSFUL
    50: 0xC00000BB,  # ERROR_NOT_SUPPORTED
    87: 0xC000000D,  # ERROR_INVALID_PARAMETER
    127: 0xC0000263,  # ERROR_PROC_NOT_FOUND: DRIVER_ENTRYPOINT_NOT_FOUND
    182: 0xC0000262,  # ERROR_INVALID_ORDINAL: DRIVER_ORDINAL_NOT_FOUND
    193: 0xC000007B,  # ERROR_BAD_EXE_FORMAT: INVALID_IMAGE_FORMAT
    216: 0x4000000E,  # ERROR_EXE_MACHINE_TYPE_MISMATCH: IMAGE_MACHINE_TYPE_MISMATCH
    577: 0xC0000428,  # ERROR_INVALID_IMAGE_HASH
    1052: 0xC0000010,  # ERROR_INVALID_SERVICE_CONTROL: no unload routine
    1056: 0xC000010E,  # ERROR_SERVICE_ALREADY_RUNNING: IMAGE_ALREADY_LOADED
    1062: 0xC0000034,  # ERROR_SERVICE_NOT_ACTIVE
    1114: 0xC0000142,  # ERROR_DLL_INIT_FAILED: DLL_INIT_FAILED
    1275: 0xC000036C,  # ERROR_DRIVER_BLOCKED
}
#: The loader or code integrity turned the image down; DriverEntry was not called.
_REFUSALS: Final = frozenset(
    {
        NTSTATUS.INVALID_IMAGE_FORMAT,
        NTSTATUS.IMAGE_CHECKSUM_MISMATCH,
        NTSTATUS.DRIVER_ORDINAL_NOT_FOUND,
        NTSTATUS.DRIVER_ENTRYPOINT_NOT_FOUND,
        NTSTATUS.PROCEDURE_NOT_FOUND,
        NTSTATUS.ENTRYPOINT_NOT_FOUND,
        NTSTATUS.DRIVER_UNABLE_TO_LOAD,
        NTSTATUS.INVALID_IMAGE_HASH,
        0xC000035A,  # STATUS_INVALID_IMAGE_WIN_64
        0xC000036B,  # STATUS_DRIVER_BLOCKED_CRITICAL
        0xC000036C,  # STATUS_DRIVER_BLOCKED
        0xC0000603,  # STATUS_IMAGE_CERT_REVOKED
        0xC0E90002,  # STATUS_SYSTEM_INTEGRITY_POLICY_VIOLATION
        0x4000000E,  # STATUS_IMAGE_MACHINE_TYPE_MISMATCH
    }
)
_ADVICE: Final[dict[int, str]] = {
    NTSTATUS.INVALID_IMAGE_HASH: "its signature is not accepted: is test signing on and Secure Boot off?",
    NTSTATUS.DRIVER_ENTRYPOINT_NOT_FOUND: "it imports a routine this system lacks; resolve that at run time",
    NTSTATUS.INVALID_IMAGE_FORMAT: "it is no driver for this architecture",
}


def create_service(
    runner: RunnerClient, service: str, path: str, image: bytes, parameters: DriverParameters | None
) -> None:
    """Create the service of the driver `image`, which is in the guest at `path`; a minifilter's has more."""
    if not is_minifilter(image):
        runner.create_service(service, path, parameters)
        return
    runner.create_service(service, path, parameters, file_system=True, group=LOAD_ORDER_GROUP)
    for key, values in instance_keys(service).items():
        runner.set_service_values(service, key, values)


def entry_status(service: str, outcome: ServiceOutcome) -> int:
    """DriverEntry's status. Raises `DriverRefusedError` when the image was not accepted."""
    status = _status(outcome)
    if status not in _REFUSALS:
        return status
    advice = _ADVICE.get(status, "the guest's event log may say why")
    raise DriverRefusedError(
        f"the guest refused the driver of service {service}: {status_name(status)}; {advice}", status=status
    )


def stop_status(outcome: ServiceOutcome) -> int:
    """What unloading came to: STATUS_SUCCESS, STATUS_INVALID_DEVICE_REQUEST without an unload routine, ..."""
    return _status(outcome)


def _status(outcome: ServiceOutcome) -> int:
    if outcome.status is not None:
        return outcome.status
    error = outcome.win32 or 0
    # An error nobody mapped keeps its number: NTSTATUS_FROM_WIN32 of ntstatus.h, facility 7.
    return _WIN32.get(error, 0xC007_0000 | error & 0xFFFF)
