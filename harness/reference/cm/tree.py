"""The registry a machine of the model starts with: enough for drivers and workloads to feel at home."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.registry.options import LoadFlags
from harness.registry.paths import upcase
from harness.registry.valuetypes import ValueType
from harness.registry.version import WindowsVersion

from .hive import Hive
from .key import Key, KeyState, Value
from .names import SYMBOLIC_LINK_VALUE, encode_utf16
from .sddl import parse_sddl
from .security import SecurityDescriptor
from .tokens import ADMINISTRATOR, STANDARD_USER, SYSTEM, assign_security
from .wow64 import WOW64_NODE, Redirector

if TYPE_CHECKING:
    from .store import Store

__all__ = ["populate"]

_CONFIG: Final = "C:\\Windows\\System32\\config\\"

_SYSTEM_SECURITY: Final = parse_sddl("O:BAG:SYD:P(A;CI;KR;;;BU)(A;CI;KA;;;BA)(A;CI;KA;;;SY)(A;CIIO;KA;;;CO)")
_SAM_SECURITY: Final = parse_sddl("O:BAG:SYD:P(A;CI;KA;;;SY)(A;CI;RCWD;;;BA)")
#: Administrators read the device tree and don't change it; B-CRE-06 builds on that.
_ENUM_SECURITY: Final = parse_sddl("O:BAG:SYD:P(A;CI;KA;;;SY)(A;CI;KR;;;BA)(A;CI;KR;;;WD)")

_PRODUCTS: Final = {
    (5, 1): "Microsoft Windows XP",
    (5, 2): "Microsoft Windows Server 2003",
    (6, 0): "Windows Vista (TM) Business",
    (6, 1): "Windows 7 Professional",
    (6, 2): "Windows 8 Pro",
    (6, 3): "Windows 8.1 Pro",
}

_MACHINE_KEYS: Final = (
    r"SOFTWARE\Classes\CLSID",
    r"SOFTWARE\Clients",
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Policies",
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Run",
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall",
    r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Image File Execution Options",
    r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon",
    r"SOFTWARE\Policies",
    r"SYSTEM\ControlSet001\Control\Session Manager\Memory Management",
    r"SYSTEM\ControlSet001\Enum\Root",
    r"SYSTEM\ControlSet001\Hardware Profiles",
    r"SYSTEM\ControlSet001\Services",
    r"SYSTEM\MountedDevices",
    r"SYSTEM\Select",
    r"SAM\SAM",
    r"SECURITY\Policy",
    r"HARDWARE\DESCRIPTION\System",
)


def _text(text: str) -> bytes:
    return encode_utf16(text + "\0")


def _dword(number: int) -> bytes:
    return struct.pack("<I", number)


class _Grower:
    """Adds keys and values without checks; new keys inherit as they would for SYSTEM."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def hive(self, parent: Key, name: str, file: str | None, security: SecurityDescriptor) -> Key:
        store = self._store
        hive = Hive(file=file, flags=LoadFlags.BOOT_HIVE)
        root = Key(hive, None, KeyState(name, store.now(), security), volatile=file is None)
        store.mount(hive, root, parent, name)
        if file is not None:
            store.files.hold(file, hive)
        return root

    def key(
        self, start: Key, path: str, security: SecurityDescriptor | None = None, *, link: str | None = None
    ) -> Key:
        """The key at `path` below `start`, made where it is missing; with `link`, a volatile link to it."""
        key = start
        names = path.split("\\")
        for number, name in enumerate(names, 1):
            last = number == len(names)
            child = key.subkey(name)
            if child is None:
                given = security if last and security else None
                child = self._store.add_key(
                    key,
                    name,
                    given or assign_security(key.state().security, None, SYSTEM),
                    volatile=key.volatile or (last and link is not None),
                    is_link=last and link is not None,
                )
            key = child
        if link is not None:
            self.value(key, SYMBOLIC_LINK_VALUE, ValueType.LINK, encode_utf16(link))
        return key

    def value(self, key: Key, name: str, kind: ValueType, data: bytes) -> None:
        key.change(None).values[upcase(name)] = Value(name, kind, data)


def _version_values(grow: _Grower, key: Key, version: WindowsVersion) -> None:
    product = _PRODUCTS.get((version.major, version.minor), "Windows 10 Pro")
    if version.build == 20348:
        product = "Windows Server 2022 Standard"
    texts = {
        "ProductName": product,
        # Windows 10 and later say 6.3 here and have the numbers below.
        "CurrentVersion": "6.3" if version.major >= 10 else f"{version.major}.{version.minor}",
        "CurrentBuild": str(version.build),
        "CurrentBuildNumber": str(version.build),
        "SystemRoot": "C:\\Windows",
    }
    if version.service_pack:
        texts["CSDVersion"] = f"Service Pack {version.service_pack}"
    for name, text in texts.items():
        grow.value(key, name, ValueType.SZ, _text(text))
    if version.major >= 10:
        grow.value(key, "CurrentMajorVersionNumber", ValueType.DWORD, _dword(version.major))
        grow.value(key, "CurrentMinorVersionNumber", ValueType.DWORD, _dword(version.minor))


def _machine(grow: _Grower, store: Store) -> None:
    machine, version = store.machine, store.version
    grow.hive(machine, "HARDWARE", None, machine.state().security)
    grow.hive(machine, "SAM", _CONFIG + "SAM", _SAM_SECURITY)
    grow.hive(machine, "SECURITY", _CONFIG + "SECURITY", _SAM_SECURITY)
    software = grow.hive(machine, "SOFTWARE", _CONFIG + "SOFTWARE", _SYSTEM_SECURITY)
    system = grow.hive(machine, "SYSTEM", _CONFIG + "SYSTEM", _SYSTEM_SECURITY)
    grow.key(system, r"ControlSet001\Enum", _ENUM_SECURITY)
    for path in _MACHINE_KEYS:
        grow.key(machine, path)
    for name, number in (("Current", 1), ("Default", 1), ("Failed", 0), ("LastKnownGood", 1)):
        grow.value(grow.key(system, "Select"), name, ValueType.DWORD, _dword(number))
    grow.key(system, "CurrentControlSet", link=r"\REGISTRY\MACHINE\SYSTEM\ControlSet001")
    current = grow.key(software, r"Microsoft\Windows NT\CurrentVersion")
    _version_values(grow, current, version)
    for name in ("009", "CurrentLanguage"):
        grow.key(current, rf"Perflib\{name}").is_predefined = version.has_predefined_keys
    if store.pointer_size == 8:
        for path in (rf"{WOW64_NODE}\Microsoft\Windows\CurrentVersion", rf"Classes\{WOW64_NODE}\CLSID"):
            grow.key(software, path)
        link = grow.key(
            software,
            rf"{WOW64_NODE}\Classes",
            link=rf"\REGISTRY\MACHINE\SOFTWARE\Classes\{WOW64_NODE}",
        )
        link.volatile = False  # unlike CurrentControlSet these links are part of the hive file
        store.redirector = Redirector(software, version)


def _users(grow: _Grower, store: Store) -> None:
    """The default profile and one for an administrator and a standard user, each owner of its own."""
    for name, token, file in (
        (".DEFAULT", SYSTEM, _CONFIG + "DEFAULT"),
        (str(ADMINISTRATOR.user), ADMINISTRATOR, "C:\\Users\\Administrator\\NTUSER.DAT"),
        (str(STANDARD_USER.user), STANDARD_USER, "C:\\Users\\User\\NTUSER.DAT"),
    ):
        sddl = f"O:{token.user}G:SYD:P(A;CI;KA;;;{token.user})(A;CI;KA;;;BA)(A;CI;KA;;;SY)(A;CI;KR;;;RC)"
        root = grow.hive(store.user, name, file, parse_sddl(sddl))
        for path in ("Environment", r"Software\Microsoft\Windows\CurrentVersion", "Volatile Environment"):
            grow.key(root, path)
    grow.key(store.user, str(SYSTEM.user), link=r"\REGISTRY\USER\.DEFAULT")


def populate(store: Store) -> None:
    """Fill the namespace of a machine that just started."""
    grow = _Grower(store)
    _machine(grow, store)
    _users(grow, store)
    for hive in store.hives:
        hive.dirty = hive.file is not None
