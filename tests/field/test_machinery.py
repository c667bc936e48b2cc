"""Drivers that use much of the kernel's machinery, and hybrids that are minifilters besides."""

from __future__ import annotations

import struct

import pytest

from harness import reference
from harness.registry.paths import RegistryPath
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from tests.field.world import image, ioctl, running

SYSTEMS = [("6.1", "x64"), ("10.0.10240", "x86"), ("10.0.26100", "x64")]
_PORT_DISCONNECTED = 0xC0000037


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_queues_callbacks_names_and_logs(version: str, arch: str) -> None:
    device = r"\\.\FieldMachinery"
    with running("machinery", version, arch) as (guest, _registry):
        data = guest.ioctl(device, ioctl(0), output=96).data
        ticks = guest.ioctl(device, ioctl(1), output=96).data
        debug = guest.debug_output()
    results = struct.unpack(f"<{len(data) // 4}I", data)
    assert results[:4] == (0, 1, 1, 1)  # the queue: initialised, by context, cancelled, next
    assert results[4:8] == (NTSTATUS.OBJECT_NAME_NOT_FOUND, 0, 7, 37)  # callback objects
    assert results[8:12] == (0, NTSTATUS.OBJECT_NAME_NOT_FOUND, 0, 0)  # directory, events made and opened
    assert results[12:14] == (NTSTATUS.TIMEOUT, 0)
    assert results[14:16] == (0, len("Ready") * 2)
    assert results[16] == NTSTATUS.OBJECT_NAME_NOT_FOUND  # its name went with the last handle
    assert results[17:] == (1, 1, 1)  # rundown protection, headers of images
    assert struct.unpack("<I", ticks) == (2,)
    assert any("event log: 0x40010001 'machinery'" in line for line in debug)


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_a_minifilter_that_filters_the_registry_besides(version: str, arch: str) -> None:
    with running("hybrid", version, arch) as (guest, registry):
        with registry.program() as p:
            key = p.create_key(p.test_root / "hybrid")
            p.set_value(key, "a", 1)
            p.set_value(key, "b", 2)
        data = guest.ioctl(r"\\.\FieldHybrid", ioctl(0), output=24).data
        debug = guest.debug_output()
    values, told, last, context, found, missing = struct.unpack("<2i4I", data)
    assert values == told >= 2
    assert last == _PORT_DISCONNECTED
    assert context == NTSTATUS.NOT_SUPPORTED
    assert (found, missing) == (1, 1)
    # What is not modelled is named when the driver is loaded, all at once.
    (named,) = [line for line in debug if "imports routines that are not modelled" in line]
    assert named.endswith(": FltAllocateContext, FltGetFileNameInformation")


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_the_filter_manager_unloads_a_minifilter(version: str, arch: str) -> None:
    with running("minifilter", version, arch) as (guest, registry):
        with registry.program() as p:
            p.set_value(p.create_key(p.test_root / "minifilter"), "a", 1)
        assert guest.stop_driver("minifilter") == 0
        assert "minifilter: unloaded with flags 1 after 1 values" in guest.debug_output()
        assert guest.start_driver("minifilter") == 0


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_the_service_of_a_minifilter_names_its_instance_and_goes_as_a_whole(version: str, arch: str) -> None:
    service = RegistryPath(r"\REGISTRY\MACHINE\SYSTEM\CurrentControlSet\Services\minifilter")
    with reference.boot(version, arch=arch) as guest, Registry(guest) as registry:
        guest.install_driver("minifilter", image("minifilter", arch), parameters={"Own": 1})
        with registry.program() as p:
            key = p.open_key(service)
            kind = p.query_value(key, "Type")
            own = p.query_value(p.open_key(service / "Parameters"), "Own")
            default = [
                p.query_value(p.open_key(above / "Instances"), "DefaultInstance")
                for above in (service, service / "Parameters")
            ]
            p.create_key(service / "Made")
            p.create_key(service / "Made" / "by somebody")
        assert (kind.value, own.value) == (2, 1)
        assert {each.value for each in default} == {"minifilter Instance"}
        guest.remove_driver("minifilter")
        with registry.program() as p:
            gone = p.open_key(service)
        assert gone.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_a_minifilter_may_refuse_that_its_service_stops() -> None:
    with reference.boot("10.0.26100") as guest:
        guest.install_driver("minifilter", image("minifilter", "x64"), parameters={"KeepService": 1})
        assert guest.start_driver("minifilter") == 0
        assert guest.stop_driver("minifilter") == NTSTATUS.INVALID_DEVICE_REQUEST
        assert any("DO_NOT_SUPPORT_SERVICE_STOP" in line for line in guest.debug_output())


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_a_thread_that_waits_on_a_queue(version: str, arch: str) -> None:
    with running("queue", version, arch) as (guest, registry):
        with registry.program() as p:
            p.set_value(p.create_key(p.test_root / "queue"), "a", 1)
        data = guest.ioctl(r"\\.\FieldQueue", ioctl(0), output=16).data
        queued, handled, timeouts, waiting = struct.unpack("<4I", data)
        assert guest.stop_driver("queue") == 0
        assert "queue: 2 left" in guest.debug_output()
        assert guest.start_driver("queue") == 0
    assert queued == handled > 4
    assert (timeouts, waiting) == (2, 0)
