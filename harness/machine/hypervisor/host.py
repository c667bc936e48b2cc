"""The host that machines run on: a connection to libvirt, and what is one per connection.

The default is libvirt's QEMU driver inside this process (https://libvirt.org/drvqemu.html#embedded): no
daemon, no root. Its state lives in one folder. libvirt allows one such folder per process, for life.
"""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit
from uuid import uuid4

from harness.cleanup import Closing
from harness.errors import HarnessError, InfrastructureError, UsageError
from harness.machine.describe.firmware import find_firmware
from harness.machine.describe.spec import MachineSpec
from harness.machine.describe.xml import domain_xml
from harness.machine.disk.seal import refuse_sealed
from harness.machine.hypervisor.capabilities import learn_capabilities
from harness.machine.hypervisor.connection import Connection
from harness.machine.hypervisor.eventlog import EventLog
from harness.machine.hypervisor.libvirt_api import libvirt, run_event_loop, translated
from harness.machine.hypervisor.machine import Machine
from harness.machine.hypervisor.reaper import Reaper, become_subreaper
from harness.machine.hypervisor.tpm import Tpm

__all__ = ["EMBEDDED", "Host"]

EMBEDDED: Final = "qemu:///embed"
#: The embedded driver puts sockets of about 50 further characters below its root: sockaddr_un holds 108.
_ROOT_LIMIT: Final = 56

_CONFIGURATION: Final = (
    'stdio_handler = "file"',  # nobody runs virtlogd
    'security_driver = "none"',
    "seccomp_sandbox = 1",  # QEMU starts no programs, gains no rights: `migrate` by descriptor, not by exec:
)
#: As root libvirt would run QEMU as another user, who may not open what belongs to this one.
_CONFIGURATION_OF_ROOT: Final = (
    'user = "+0"',
    'group = "+0"',
    "dynamic_ownership = 0",
    "remember_owner = 0",
    "namespaces = []",
    "cgroup_controllers = []",
)

_NO_CONNECTION: Final = {
    # As root libvirt looks up the user QEMU would run as, before it reads that it shall be another.
    True: "another process may use this folder; a process needs one of its own. "
    "A user or a group that is not there: tools/bootstrap.sh machines, as root, makes it",
    False: f"is its daemon running? Without a URI the harness uses {EMBEDDED}, which needs none",
}


class Host(Closing):
    """Where machines are started; a context manager that ends those it started. Safe for several threads."""

    _embedded_root: ClassVar[Path | None] = None
    #: Opened once and kept: each open registers libvirt's drivers anew, and there is room for sixteen.
    _embedded: ClassVar[Connection | None] = None

    def __init__(self, connection: Connection, uri: str, root: Path) -> None:
        self._connection: Connection | None = connection
        self.uri = uri
        self.root = root
        self._lock = threading.Lock()
        self._machines: dict[str, Machine] = {}
        self._learning = threading.Lock()
        self._learned: set[str] = set()

    @classmethod
    def open(cls, uri: str | None = None, *, root: Path) -> Host:
        """Connect. `uri` None is the embedded driver with its state in `root`, which is made.

        `qemu:///session` and `qemu:///system` work too. They run QEMU under the daemon's rules: with `system`
        QEMU is another user, who must be able to read images and to write to every machine's folder (or else
        screenshots fail); one who can't open /dev/kvm makes libvirt take a minute. A URI with a host is
        refused: the runner's socket, logs, dumps and forwarded ports would be on that host.
        """
        uri = uri or EMBEDDED
        parts = urlsplit(uri)
        if not parts.scheme.startswith("qemu"):
            raise UsageError(f"libvirt URI {uri!r}: only QEMU machines are supported, such as {EMBEDDED}")
        if parts.netloc:
            raise UsageError(
                f"libvirt URI {uri!r} is on another host; sockets, logs and ports of its machines can't be "
                "reached from here. Run the harness on that host instead"
            )
        run_event_loop()
        embedded = parts.path == "/embed"
        if not embedded:
            return cls(Connection(uri, _NO_CONNECTION[False]), uri, root.absolute())
        uri = f"{EMBEDDED}?root={cls._prepare(root)}"
        become_subreaper()
        if cls._embedded is not None:
            return cls(cls._embedded, uri, root.absolute())
        cls._embedded = Connection(uri, _NO_CONNECTION[True])
        host = cls(cls._embedded, uri, root.absolute())
        host._end_leftovers()
        return host

    @classmethod
    def _prepare(cls, root: Path) -> Path:
        root = root.absolute()
        if len(bytes(root)) > _ROOT_LIMIT or not str(root).isprintable() or set(str(root)) & set("?&#%"):
            raise UsageError(
                f"libvirt's folder {root} must be at most {_ROOT_LIMIT} bytes long, for its sockets, and "
                "without '?', '&', '#', '%'; choose another"
            )
        if cls._embedded_root not in {None, root}:
            raise UsageError(
                f"this process uses libvirt's embedded driver in {cls._embedded_root} already; a second "
                f"folder, {root}, needs a process of its own"
            )
        lines = _CONFIGURATION + (_CONFIGURATION_OF_ROOT if os.geteuid() == 0 else ())
        configuration = root / "etc/qemu.conf"
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            configuration.parent.mkdir(exist_ok=True)
            configuration.write_text("\n".join(lines) + "\n")
        except OSError as error:
            raise InfrastructureError(f"can't prepare libvirt's folder {root}: {error}") from error
        cls._embedded_root = root
        return root

    def _end_leftovers(self) -> None:
        """libvirt lets one process at a time into its folder: what runs there was left by a killed one."""
        for domain in self.connection.listAllDomains():
            with suppress(libvirt.libvirtError):  # gone by itself meanwhile
                domain.destroy()

    @property
    def connection(self) -> Any:
        """libvirt's own connection. Raises `UsageError` when the host is closed."""
        return self._open_connection.api

    @property
    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise UsageError("this host is closed; open another")
        return self._connection

    @property
    def embedded(self) -> bool:
        return self.uri.startswith(EMBEDDED)

    # -- machines --------------------------------------------------------------------------------------------

    def start(self, spec: MachineSpec, *, paused: bool = False) -> Machine:
        """Make the domain and start it. `paused` leaves it before its first instruction.

        Makes `spec.folder`, the firmware variables where they don't exist yet, and starts the TPM.
        """
        firmware = find_firmware(spec.hardware)
        self._learn(spec.hardware.arch)
        for disk in spec.disks:
            if not disk.read_only:
                refuse_sealed(disk.path)
        uuid = uuid4()  # of this run: events of an earlier machine with this name are not its own
        xml = domain_xml(spec, firmware, uuid=uuid)
        with ExitStack() as stack:
            try:
                spec.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if firmware is not None and spec.firmware_variables and not spec.firmware_variables.exists():
                    shutil.copyfile(firmware.variables, spec.firmware_variables)
            except OSError as error:
                raise InfrastructureError(
                    f"can't prepare the folder of machine {spec.name}: {error}"
                ) from error
            tpm = None
            if spec.hardware.tpm:
                tpm = stack.enter_context(Tpm.start(spec.tpm_folder, spec.tpm_socket))
            log = EventLog(spec.name)
            self._open_connection.listen(str(uuid), log)
            stack.callback(self._forget, self._open_connection, str(uuid))
            flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
            reaper = Reaper(self._state("run") / f"{spec.name}.pid")
            try:
                with translated(f"can't start machine {spec.name}"):
                    domain = self.connection.createXML(xml, flags)
            except InfrastructureError as error:
                if tpm is not None and (trouble := tpm.trouble()):
                    raise InfrastructureError(f"{error}; {trouble}") from error
                raise
            finally:
                pid = reaper.settle()
            machine = Machine(
                spec,
                domain,
                log,
                pid=pid,
                reaper=reaper,
                qemu_log=self._qemu_log(spec.name),
                resources=stack.pop_all(),
            )
        with self._lock:
            self._machines[str(uuid)] = machine
        return machine

    def _learn(self, arch: str) -> None:
        """Once per architecture: what QEMU can do, found out where it doesn't take minutes."""
        with self._learning:
            if self.embedded and arch not in self._learned:
                learn_capabilities(self.root, arch)
                self._learned.add(arch)

    def _forget(self, connection: Connection, uuid: str) -> None:
        connection.forget(uuid)
        with self._lock:
            self._machines.pop(uuid, None)

    def _qemu_log(self, name: str) -> Path:
        return self._state("log") / f"{name}.log"

    def _state(self, kind: str) -> Path:
        """Where libvirt keeps pid files ("run") and QEMU's output ("log")."""
        if self.embedded:
            return self.root / kind / "qemu"
        if urlsplit(self.uri).path == "/session":
            runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
            cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
            folders = {"run": Path(runtime) / "libvirt/qemu/run", "log": Path(cache) / "libvirt/qemu/log"}
            return folders[kind].expanduser()
        return {"run": Path("/run/libvirt/qemu"), "log": Path("/var/log/libvirt/qemu")}[kind]

    # -- end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End every machine started here, and the connection. May be called again."""
        with self._lock:
            machines = list(self._machines.values())
        troubles = []
        for machine in machines:
            try:
                machine.destroy()
            except HarnessError as trouble:
                troubles.append(trouble)
        connection, self._connection = self._connection, None
        if connection is not None and not self.embedded:
            connection.close()
        if troubles:
            raise troubles[0]
