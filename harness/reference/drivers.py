"""Driver services: install, start, stop, remove.

A service is a key under ``\\Registry\\Machine\\System\\CurrentControlSet\\Services`` in the modelled
registry with
the image path and start type, its parameters below, and the image in the modelled file system.
Sources: install/specifying-driver-load-order, kernel/writing-a-driverentry-routine,
kernel/writing-an-unload-routine, install/the-testsigning-boot-configuration-option.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.driver.minifilter import LOAD_ORDER_GROUP, SERVICE_TYPE, instance_keys, is_minifilter
from harness.driver.signature import SignatureReport, check_signature
from harness.driver.symbols import find_symbols
from harness.errors import DriverRefusedError, InfrastructureError, UsageError
from harness.guest import DriverParameters
from harness.reference.faults import GuestException
from harness.reference.filtering.kernel_calls import KernelCalls
from harness.reference.filtering.request import Requester
from harness.reference.filtering.services_key import delete_key
from harness.reference.kernel.checks import irql_name
from harness.reference.kernel.flt import unload_calls
from harness.reference.kernel.leftovers import check_leftovers, release_leftovers
from harness.reference.kernel.objects import KERNEL_MODE
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.status import NTSTATUS, status_name
from harness.registry.valuetypes import ValueType

if TYPE_CHECKING:
    from harness.reference.kernel.objects import KernelObject
    from harness.reference.machine import Machine
    from harness.reference.modules import Driver

__all__ = ["DriverServices", "Service"]

#: The same few images are loaded again and again; judging one takes as long as booting.
_signature = functools.lru_cache(maxsize=16)(check_signature)

_SERVICES: Final = "\\REGISTRY\\MACHINE\\SYSTEM\\CurrentControlSet\\Services"
_DRIVERS: Final = "C:\\Windows\\System32\\drivers"
_KERNEL_DRIVER: Final = 1
_DEMAND_START: Final = 3
_ERROR_NORMAL: Final = 1


@dataclass(slots=True, eq=False)
class Service:
    """One service. `module` and `driver` are there while it runs."""

    name: str
    path: str
    signature: SignatureReport
    module: Driver | None = None
    driver: KernelObject | None = None


class DriverServices:
    """The services of a machine. `verifier`: leftovers at unload are a bugcheck, else they are cleaned up."""

    def __init__(self, machine: Machine, *, verifier: bool = True) -> None:
        self.m = machine
        self.verifier = verifier
        self._services: dict[str, Service] = {}
        self._calls = KernelCalls(machine.registry)
        #: What was let pass and should be said: unsigned drivers where no signature is needed.
        self.notes: list[str] = []

    def __iter__(self) -> object:
        return iter(list(self._services.values()))

    def get(self, name: str) -> Service:
        """Raises `UsageError` for an unknown service."""
        found = self._services.get(name.lower())
        if found is None:
            raise UsageError(f"there is no service {name!r}; install_driver creates it")
        return found

    def install(self, name: str, image: bytes, parameters: DriverParameters | None = None) -> Service:
        """Create the service key and store the image. Raises `UsageError` for a name in use or a bad one."""
        if not name or any(char in name for char in '\\/:*?"<>|') or len(name) > 80:
            raise UsageError(f"{name!r} can't be the name of a service")
        if name.lower() in self._services:
            raise UsageError(f"the service {name!r} exists already; remove_driver deletes it")
        file = name if name.lower().endswith(".sys") else f"{name}.sys"
        path = f"{_DRIVERS}\\{file}"
        self.m.kernel.files.store.write(path, image)
        service = Service(name, path, _signature(bytes(image)))
        self._services[name.lower()] = service
        with self.m.running_as(self.m.kernel.processes.system_thread):
            self._write_key(service, parameters or {}, is_minifilter(bytes(image)))
        return service

    def _write_key(self, service: Service, parameters: DriverParameters, minifilter: bool) -> None:
        key = self._create(f"{_SERVICES}\\{service.name}")
        image_path = "\\SystemRoot\\System32\\drivers\\" + service.path.rpartition("\\")[2]
        self._put(key, "Type", SERVICE_TYPE if minifilter else _KERNEL_DRIVER)
        self._put(key, "Start", _DEMAND_START)
        self._put(key, "ErrorControl", _ERROR_NORMAL)
        self._put(key, "DisplayName", service.name)
        self._calls.set(key, "ImagePath", ValueType.EXPAND_SZ, (image_path + "\0").encode("utf-16-le"))
        if minifilter:
            self._put(key, "Group", LOAD_ORDER_GROUP)
        self._calls.close(key)
        if parameters:
            self._put_all(service, "Parameters", parameters)
        if minifilter:
            for below, values in instance_keys(service.name).items():
                self._put_all(service, below, values)

    def _put_all(self, service: Service, below: str, values: DriverParameters) -> None:
        """Write values of a key below the service's key; made, with those above it, where it is missing."""
        if above := below.rpartition("\\")[0]:
            self._put_all(service, above, {})
        key = self._create(f"{_SERVICES}\\{service.name}\\{below}")
        for name, value in values.items():
            self._put(key, name, value)
        self._calls.close(key)

    def _create(self, path: str) -> int:
        status, handle = self._calls.create(path)
        if status:
            raise InfrastructureError(f"the service key {path} can't be created: {status_name(status)}")
        return handle

    def _put(self, key: int, name: str, value: int | str | bytes) -> None:
        if isinstance(value, bytes):
            self._calls.set(key, name, ValueType.BINARY, value)
        elif isinstance(value, str):
            self._calls.set(key, name, ValueType.SZ, (value + "\0").encode("utf-16-le", "surrogatepass"))
        else:
            self._calls.set(key, name, ValueType.DWORD, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    # -- starting ----------------------------------------------------------------------------------------

    def start(self, name: str) -> int:
        """Load and call DriverEntry; its status. Raises `DriverRefusedError` and `GuestCrashed`."""
        service = self.get(name)
        m = self.m
        if service.module is not None:
            return NTSTATUS.IMAGE_ALREADY_LOADED
        self._check_signature(service)
        image = m.kernel.files.store.read(service.path)
        module = m.loader.load(image, service.path.rpartition("\\")[2], path=find_symbols(image))
        if module.declined:
            m.kernel.debug.note(
                f"{module.name} imports routines that are not modelled and only say so when called: "
                + ", ".join(module.declined)
            )
        try:
            return self._enter(service, module)
        except GuestException as error:  # pragma: no cover - call_guarded turns it into a bugcheck
            m.unhandled(error)

    def _check_signature(self, service: Service) -> None:
        report = service.signature
        if report.ok:
            return
        m = self.m
        if m.version.enforces_signatures(str(m.arch)):
            raise DriverRefusedError(
                f"{service.name}: Windows {m.version} {m.arch} with test signing loads no driver whose "
                "signature is "
                f"missing or wrong ({report.problem}); sign it with: harness driver sign",
                status=NTSTATUS.INVALID_IMAGE_HASH,
            )
        self.notes.append(
            f"{service.name} was loaded although its signature is not good ({report.problem}): "
            f"Windows {m.version} {m.arch} does not ask for one"
        )
        m.kernel.debug.note(self.notes[-1])

    def _enter(self, service: Service, module: Driver) -> int:
        m = self.m
        kernel = m.kernel
        obj = kernel.io.create_driver(service.name, f"{_SERVICES}\\{service.name}", module)
        module.body = obj
        view = kernel.io.driver_layout.at(m.memory, obj.address)
        view["DriverStart"] = module.base
        view["DriverSize"] = module.size
        view["DriverInit"] = module.entry
        view["DriverSection"] = kernel.loaded.add(module)
        kernel.notify.image(
            f"\\SystemRoot\\System32\\drivers\\{module.name}", 0, module.base, module.size, system=True
        )
        worker = kernel.processes.system_thread
        with (
            m.suspecting(module),
            m.kernel_work(),
            m.running_as(worker),
            m.memory.scratch() as scratch,
        ):
            path = scratch.unicode(f"\\REGISTRY\\MACHINE\\SYSTEM\\ControlSet001\\Services\\{service.name}")
            status = m.cpu.call(module.entry, obj.address, path) & 0xFFFFFFFF
            if m.cpu.irql:
                m.bugcheck(
                    0x4A, module.entry, m.cpu.irql, reason=f"DriverEntry returned at {irql_name(m.cpu.irql)}"
                )
            service.module, service.driver = module, obj
            if status >= 0x80000000:
                self._failed(service)
                return status
            for device in obj.body.devices:
                at = kernel.io.device_layout.at(m.memory, device.address)
                at["Flags"] = at["Flags"] & ~0x80  # the I/O manager clears DO_DEVICE_INITIALIZING
            for routine, context in obj.body.reinitialize:
                m.cpu.call(routine, obj.address, context, 1)
            kernel.scheduler.drain()
            m.loader.discard_init(module)
        return status

    def _failed(self, service: Service) -> None:
        """DriverEntry failed: the image goes, and what it left is a leak like at unload."""
        self._gone(service, "after the failing DriverEntry")

    # -- stopping ----------------------------------------------------------------------------------------

    def stop(self, name: str) -> int:
        """Unload the driver and take the image away.

        STATUS_INVALID_DEVICE_REQUEST when nothing in it can be called for that, STATUS_DEVICE_BUSY while a
        device of it is open.
        """
        service = self.get(name)
        if service.module is None or service.driver is None:
            return NTSTATUS.OBJECT_NAME_NOT_FOUND
        m = self.m
        routines = self._unload_routines(service.module, service.driver)
        if not routines:
            return NTSTATUS.INVALID_DEVICE_REQUEST
        if any(device.body.files for device in service.driver.body.devices):
            m.kernel.debug.note(f"{service.name}: a device is still open; it is unloaded when it is closed")
            return NTSTATUS.DEVICE_BUSY
        worker = m.kernel.processes.system_thread
        with m.suspecting(service.module), m.kernel_work(), m.running_as(worker):
            for routine, argument in routines:
                m.cpu.call(routine, argument)
                if m.cpu.irql:
                    reason = f"the driver's unload routine returned at {irql_name(m.cpu.irql)}"
                    m.bugcheck(0x4A, routine, m.cpu.irql, reason=reason)
            m.kernel.scheduler.drain()
            self._gone(service, "after DriverUnload")
        return NTSTATUS.SUCCESS

    def _unload_routines(self, module: Driver, driver: KernelObject) -> list[tuple[int, int]]:
        """What stopping a service calls, each with its argument; nothing where it can't be stopped.

        A minifilter's FilterUnloadCallback comes first. No page says what becomes of a DriverUnload besides
        it; here it is called afterwards.
        """
        filters = unload_calls(self.m, module)
        if filters is None:
            return []
        unload = self.m.kernel.io.driver_layout.at(self.m.memory, driver.address)["DriverUnload"]
        return [*filters, (unload, driver.address)] if unload else filters

    def _gone(self, service: Service, when: str) -> None:
        m = self.m
        module, obj = service.module, service.driver
        assert module is not None
        assert obj is not None
        m.kernel.scheduler.drain()
        if self.verifier:
            check_leftovers(m, obj, module, when)
        else:
            release_leftovers(m, obj, module)
        m.kernel.loaded.remove(module)
        m.loader.unload(module)
        m.kernel.io.free_driver(obj)
        service.module = service.driver = None

    def remove(self, name: str) -> None:
        """Delete the service, stopping it first. Raises `UsageError` when it can't be stopped."""
        service = self.get(name)
        if service.module is not None:
            status = self.stop(name)
            if status:
                raise UsageError(f"the driver {name!r} can't be stopped: {status_name(status)}")
        del self._services[name.lower()]
        store = self.m.kernel.files.store
        if store.exists(service.path):
            store.delete(service.path)
        with self.m.running_as(self.m.kernel.processes.system_thread):
            self._delete_tree(f"{_SERVICES}\\{service.name}")

    def _delete_tree(self, path: str) -> None:
        """As the service control manager does: with whatever the driver or anybody else made below."""
        status, handle = self._calls.open(path, access=KEY_ALL_ACCESS)
        if status:
            return
        with self.m.previous_mode(KERNEL_MODE):
            requester = Requester(self.m.registry)
            key = requester.key(handle, KEY_ALL_ACCESS)
            below = [child.name for child in key.key.state(None).ordered()]
            self.m.registry.keys.release(key)
            for name in below:
                self._delete_tree(f"{path}\\{name}")
            delete_key(self.m.registry, handle)
        self._calls.close(handle)
