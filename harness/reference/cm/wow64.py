"""The 32-bit view of HKLM\\Software on 64-bit Windows.

Source: WinProg64/shared-registry-keys (which keys are redirected, which are shared),
WinProg64/accessing-an-alternate-registry-view (the flags). Not modelled: reflection (B-CRE-27), the per-user
Classes of HKCU, and the ARM views.
"""

from __future__ import annotations

from typing import Final

from harness.registry.access import KEY_WOW64_32KEY, KEY_WOW64_64KEY
from harness.registry.version import WindowsVersion

from .key import Key
from .names import upcase

__all__ = ["WOW64_NODE", "Redirector", "wants_32_bit"]

WOW64_NODE: Final = "Wow6432Node"


def _paths(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(upcase(line.strip()).split("\\")) for line in text.splitlines() if line.strip())


#: Below HKLM\Software, shared by both views on every version.
_SHARED: Final = _paths(
    r"""
    Classes\HCP
    Microsoft\Cryptography\Calais\Current
    Microsoft\Cryptography\Calais\Readers
    Microsoft\Cryptography\Services
    Microsoft\CTF\SystemShared
    Microsoft\CTF\TIP
    Microsoft\DFS
    Microsoft\Driver Signing
    Microsoft\EnterpriseCertificates
    Microsoft\MSMQ
    Microsoft\Non-Driver Signing
    Microsoft\RAS
    Microsoft\Shared Tools\MSInfo
    Microsoft\SystemCertificates
    Microsoft\TermServLicensing
    Microsoft\TransactionServer
    Microsoft\Windows\CurrentVersion\Control Panel\Cursors\Schemes
    Microsoft\Windows\CurrentVersion\Group Policy
    Microsoft\Windows\CurrentVersion\Policies
    Microsoft\Windows\CurrentVersion\Setup
    Microsoft\Windows\CurrentVersion\Telephony\Locations
    Microsoft\Windows NT\CurrentVersion\FontDpi
    Microsoft\Windows NT\CurrentVersion\FontMapper
    Microsoft\Windows NT\CurrentVersion\Fonts
    Microsoft\Windows NT\CurrentVersion\FontSubstitutes
    Microsoft\Windows NT\CurrentVersion\NetworkCards
    Microsoft\Windows NT\CurrentVersion\Perflib
    Microsoft\Windows NT\CurrentVersion\Ports
    Microsoft\Windows NT\CurrentVersion\Print
    Microsoft\Windows NT\CurrentVersion\ProfileList
    Microsoft\Windows NT\CurrentVersion\Time Zones
    Policies
    RegisteredApplications
    """
)
#: Shared from Windows 7 on, redirected before.
_SHARED_LATER: Final = _paths(
    r"""
    Classes
    Clients
    Microsoft\COM3
    Microsoft\EventSystem
    Microsoft\Notepad\DefaultFonts
    Microsoft\OLE
    Microsoft\RPC
    Microsoft\Windows\CurrentVersion\App Paths
    Microsoft\Windows\CurrentVersion\Explorer\AutoplayHandlers
    Microsoft\Windows\CurrentVersion\Explorer\DriveIcons
    Microsoft\Windows\CurrentVersion\Explorer\KindMap
    Microsoft\Windows\CurrentVersion\PreviewHandlers
    Microsoft\Windows NT\CurrentVersion\Console
    Microsoft\Windows NT\CurrentVersion\FontLink
    Microsoft\Windows NT\CurrentVersion\Gre_Initialize
    Microsoft\Windows NT\CurrentVersion\Image File Execution Options
    Microsoft\Windows NT\CurrentVersion\Language Pack
    """
)
#: Below the shared Classes key, redirected nevertheless.
_CLASSES_REDIRECTED: Final = frozenset({"CLSID", "DIRECTSHOW", "INTERFACE", "MEDIA TYPE", "MEDIAFOUNDATION"})


def wants_32_bit(access: int, *, wow64: bool) -> bool:
    """Which view a request is about: the flag, else what the process is."""
    if access & KEY_WOW64_64KEY:
        return False
    return bool(access & KEY_WOW64_32KEY) or wow64


class Redirector:
    """Maps a path as the 32-bit view has it to where its keys really are."""

    def __init__(self, software: Key, version: WindowsVersion) -> None:
        self._software = software
        self._shared = _SHARED | _SHARED_LATER if version.shares_wow64_keys else _SHARED

    def _is_shared(self, names: list[str]) -> bool:
        return any(tuple(names[:length]) in self._shared for length in range(1, len(names) + 1))

    def redirect(self, start: Key, names: list[str]) -> tuple[Key, list[str]]:
        """Where to walk instead of `names` from `start`, both as the 64-bit view names them."""
        above: list[str] = []
        key: Key | None = start
        while key is not None and key is not self._software:
            above.insert(0, key.name)
            key = key.parent
        if key is None:
            prefix = self._from_above(start)
            if prefix is None or [upcase(name) for name in names[: len(prefix)]] != prefix:
                return start, names
            inner = names[len(prefix) :]
        else:
            inner = [*above, *names]
        if inner and upcase(inner[0]) == upcase(WOW64_NODE):
            inner = inner[1:]  # a handle or path below the node names the same 32-bit view
        return self._software, self._place(inner)

    def _from_above(self, start: Key) -> list[str] | None:
        """The upcased names from `start` down to the Software key, None when it is not above it."""
        names: list[str] = []
        key: Key | None = self._software
        while key is not None and key is not start:
            names.insert(0, upcase(key.name))
            key = key.parent
        return names if key is not None else None

    def _place(self, names: list[str]) -> list[str]:
        upper = [upcase(name) for name in names]
        if not self._is_shared(upper):
            return [WOW64_NODE, *names]
        if upper[0] == "CLASSES" and len(upper) > 1 and upper[1] in _CLASSES_REDIRECTED:
            return [names[0], WOW64_NODE, *names[1:]]
        return names
