"""A first look at a driver nobody here knows: loaded between two probe filters on the reference guest.

Everything a driver does is found out by running it: the same short workload runs on the guest without it and
with it, and what the two filters and the requester saw is compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.between import ABOVE, BELOW, Change, changes
from harness.errors import DriverRefusedError, GuestCrashed, InfrastructureError, UsageError
from harness.guest.base import Arch, DriverParameters, Guest
from harness.guests import boot
from harness.registry.status import nt_success, status_name
from harness.targets import Target, reference_targets

if TYPE_CHECKING:
    from harness.driver import SignatureReport
    from harness.reference.facts import DriverFacts
    from harness.registry.version import WindowsVersion
    from harness.workload import Registry, Step

__all__ = ["FirstLook", "Operation", "architecture_of", "default_target", "first_look"]

#: Debug output kept, in lines; a driver may print as much as it likes.
_MAX_DEBUG: Final = 200
#: Largest file looked at, in bytes.
_MAX_IMAGE: Final = 64 << 20
#: Operations whose output is the same every time; that of the others holds times.
_SAME_OUTPUT: Final = {"query value", "enumerate values", "query value in it"}
_MACHINES: Final = {0x8664: Arch.X64, 0x14C: Arch.X86}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the workload, without the driver and with it. Statuses by name."""

    name: str
    without: str
    with_driver: str
    output_differs: bool
    changes: tuple[str, ...]

    @property
    def unchanged(self) -> bool:
        return self.without == self.with_driver and not self.output_differs and not self.changes


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What was found. Empty fields were not reached: `refused` or `crash` says why."""

    file: str
    sha256: str
    target: str
    kind: str
    arch: str
    signature: str
    entry_status: str = ""
    refused: str = ""
    unmodelled: tuple[str, ...] = ()
    has: DriverFacts | None = None
    operations: tuple[Operation, ...] = ()
    debug: tuple[str, ...] = ()
    unload: str = ""
    crash: str = ""

    @property
    def ok(self) -> bool:
        """It loaded, survived the workload and went away again."""
        return not self.refused and not self.crash


def architecture_of(image: bytes, name: str) -> Arch:
    """The architecture of a driver image. Raises `UsageError` for anything else."""
    from harness.driver.image import read_headers

    try:
        return _MACHINES[read_headers(image).machine]
    except KeyError as error:
        raise UsageError(
            f"{name} is for machine {error.args[0]:#x}; drivers for x64 and x86 can be loaded"
        ) from None
    except ValueError as error:
        raise UsageError(f"{name} is not a driver image: {error}") from error


def default_target(path: Path) -> Target:
    """The newest modelled Windows of the driver's architecture. Raises as `first_look` does."""
    arch = architecture_of(_read(path), path.name)
    return next(target for target in reversed(reference_targets()) if target.arch is arch)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_IMAGE:
            raise UsageError(f"{path} has more than {_MAX_IMAGE >> 20} MiB; no driver is that large")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


def first_look(path: Path, target: Target, *, parameters: DriverParameters | None = None) -> FirstLook:
    """Load the driver in `path` on `target`, run the workload, unload it.

    `parameters` become values of its service's Parameters key.

    Whatever the driver does ends up in the result. Raises `UsageError` for a file that can't be read or is
    no driver of the target's architecture, `InfrastructureError` for failures of the harness.
    """
    from harness.driver import check_signature, sign_image, signing_certificate
    from harness.driver.build import build_directory

    image = _read(path)
    arch = architecture_of(image, path.name)
    if arch is not target.arch:
        raise UsageError(
            f"{path.name} is an {arch} driver, {target} is {target.arch}; choose a target of {arch}"
        )
    report = check_signature(image)
    loaded = image
    if not report.ok:
        loaded = sign_image(image, signing_certificate(build_directory() / "keys"))
    look = _Look(path, image, loaded, target, _describe(report), parameters)
    try:
        with boot(target) as guest:
            look.run(guest)
    except (UsageError, InfrastructureError):
        raise
    except Exception as error:  # an image made to confuse must not end in a traceback
        raise InfrastructureError(
            f"the reference guest failed on {path.name}, report this file: {type(error).__name__}: {error}"
        ) from error
    return look.found


def _describe(report: SignatureReport) -> str:
    if report.ok:
        return f"valid, by {report.subject}"
    problem = report.problem or "none"
    return f"{problem}; signed with the test certificate for this look"


class _Look:
    """The steps of one look; `found` collects the fields of the result as far as it gets."""

    def __init__(
        self,
        path: Path,
        image: bytes,
        loaded: bytes,
        target: Target,
        signature: str,
        parameters: DriverParameters | None,
    ) -> None:
        self._loaded = loaded
        self._parameters = parameters
        self._service = path.stem or "driver"
        self.found = FirstLook(
            file=str(path),
            sha256=hashlib.sha256(image).hexdigest(),
            target=target.name,
            kind=target.kind.value,
            arch=target.arch.value,
            signature=signature,
        )

    def _note(self, **fields: Any) -> None:
        self.found = replace(self.found, **fields)

    def run(self, guest: Guest) -> None:
        from harness.probe import Probe
        from harness.reference import ReferenceGuest
        from harness.reference.facts import driver_facts
        from harness.workload import Registry

        try:
            probe = Probe.install(guest)
            registry = Registry(guest, name="first-look")
            before = _workload(registry, guest.info.version)
            above = probe.add(ABOVE)
            if not self._load(guest):
                return
            if isinstance(guest, ReferenceGuest):
                self._note(has=driver_facts(guest, self._service))
            below = probe.add(BELOW)
            after = _workload(registry, guest.info.version)
            trace = probe.trace
            operations = (
                _compare(name, step, after[name], changes(trace.of(after[name]), above, below))
                for name, step in before.items()
            )
            self._note(operations=tuple(operations))
            self._note(unload=status_name(guest.stop_driver(self._service)))
        except GuestCrashed as error:
            self._note(crash=str(error))
        finally:
            self._note(debug=tuple(guest.debug_output()[:_MAX_DEBUG]))

    def _load(self, guest: Guest) -> bool:
        guest.install_driver(self._service, self._loaded, parameters=self._parameters)
        try:
            status = guest.start_driver(self._service)
        except DriverRefusedError as error:
            self._note(refused=str(error), unmodelled=error.unmodelled)
            return False
        self._note(entry_status=status_name(status))
        if not nt_success(status):
            self._note(refused=f"DriverEntry returned {status_name(status)}")
            return False
        return True


def _workload(registry: Registry, version: WindowsVersion) -> Mapping[str, Step]:
    """A short tour of the registry. Every operation is tried, whatever came of those before it.

    Nothing is cleaned up but what the tour itself makes: a driver may well forbid it, and the guest is
    thrown away afterwards.
    """
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        steps = {
            "create key": key,
            "set value": p.set_value(key, "colour", "red"),
            "query value": p.query_value(key, "colour"),
            "enumerate values": p.enumerate_value(key, 0),
            "create subkey": p.create_key(p.test_root / "app" / "child"),
            "enumerate keys": p.enumerate_key(key, 0),
            "query key": p.query_key(key),
            "open key": p.open_key(p.test_root / "app"),
            "open missing key": p.open_key(p.test_root / "missing"),
            "delete value": p.delete_value(key, "colour"),
            "query missing value": p.query_value(key, "colour"),
            "flush": p.flush_key(key),
            "delete key": p.delete_key(p.open_key(p.test_root / "app" / "child")),
            "close": p.close(key),
        }
        if version.has_app_hives:
            hive = p.load_app_key("first-look.dat")
            settings = p.create_key(hive / "settings")
            steps |= {
                "load application hive": hive,
                "create key in it": settings,
                "set value in it": p.set_value(settings, "colour", "red"),
                "query value in it": p.query_value(settings, "colour"),
            }
            p.close(settings)
            p.close(hive)
        p.remove_key(p.test_root / "app")
    return steps


def _compare(name: str, without: Step, with_driver: Step, found: list[Change]) -> Operation:
    return Operation(
        name=name,
        without=without.status_name,
        with_driver=with_driver.status_name,
        output_differs=name in _SAME_OUTPUT and without.output != with_driver.output,
        changes=tuple(map(str, found)),
    )
