"""What answer files of Vista and later may say: components, their settings, passes, versions, lengths.

Source: "Unattended Windows Setup Reference" (windows-hardware/customize/desktop/unattend, and its editions
for Vista and 7). Each setting has a page there, ``microsoft-windows-COMPONENT-SETTING``, with its child
elements, valid configuration passes and longest text; the versions are those of the page of the component or
setting. Only what the template may use is listed: what is not here is a mistake until its page has been read.

Not confirmed: most passes were compared with those pages; some of them, several lengths and versions, and
the passes of the two components about Server Manager were not, as the pages were not at hand. Windows System
Image Manager, which reads the catalogue of a real medium, is the judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from harness.registry.version import WIN7, WIN8, WindowsVersion

__all__ = ["COMPONENTS", "PASSES", "Setting"]

PASSES: Final = frozenset(
    {
        "windowsPE",
        "offlineServicing",
        "generalize",
        "specialize",
        "auditSystem",
        "auditUser",
        "oobeSystem",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting of a component, or an element below one.

    `below` are the elements it holds; empty: text, of `longest` characters at most (0: its page names no
    limit). `listed` elements may be there several times and need ``wcm:action="add"``. `passes` are for
    settings right below a component; `since` and `before` bound the versions that know it.
    """

    below: Mapping[str, Setting] = field(default_factory=dict)
    longest: int = 0
    needed: bool = False
    listed: bool = False
    passes: frozenset[str] = frozenset()
    since: WindowsVersion | None = None
    before: WindowsVersion | None = None

    def is_known_to(self, version: WindowsVersion) -> bool:
        return (self.since is None or version >= self.since) and (
            self.before is None or version < self.before
        )


def _text(longest: int = 0, *, needed: bool = False, since: WindowsVersion | None = None) -> Setting:
    return Setting(longest=longest, needed=needed, since=since)


def _group(*, needed: bool = False, **below: Setting) -> Setting:
    return Setting(below=below, needed=needed)


def _list(**below: Setting) -> Setting:
    return Setting(below=below, needed=True, listed=True)


_PLAIN: Final = Setting()


def _in(
    passes: str,
    setting: Setting = _PLAIN,
    *,
    since: WindowsVersion | None = None,
    before: WindowsVersion | None = None,
) -> Setting:
    """A setting right below a component, with its passes in one text."""
    return replace(setting, passes=frozenset(passes.split()), since=since, before=before)


_NEEDED: Final = _text(needed=True)
_WILL_SHOW_UI: Final = _text()
_PASSWORD: Final = _group(needed=True, Value=_text(needed=True), PlainText=_text())


def _locales(passes: str) -> dict[str, Setting]:
    """Setup asks for each that is missing."""
    return {
        **{
            name: _in(passes, _NEEDED) for name in ("InputLocale", "SystemLocale", "UILanguage", "UserLocale")
        },
        "UILanguageFallback": _in(passes),
    }


#: Component -> its settings.
COMPONENTS: Final[Mapping[str, Mapping[str, Setting]]] = {
    "Microsoft-Windows-International-Core-WinPE": {
        **_locales("windowsPE"),
        "SetupUILanguage": _in(
            "windowsPE", _group(needed=True, UILanguage=_NEEDED, WillShowUI=_WILL_SHOW_UI)
        ),
        "LayeredDriver": _in("windowsPE"),
    },
    "Microsoft-Windows-PnpCustomizationsWinPE": {
        "DriverPaths": _in("windowsPE", _group(PathAndCredentials=_list(Path=_NEEDED)))
    },
    "Microsoft-Windows-International-Core": _locales("specialize oobeSystem"),
    "Microsoft-Windows-Setup": {
        "DynamicUpdate": _in("windowsPE", _group(Enable=_text(), WillShowUI=_WILL_SHOW_UI)),
        "DiskConfiguration": _in(
            "windowsPE",
            _group(
                WillShowUI=_WILL_SHOW_UI,
                Disk=_list(
                    DiskID=_NEEDED,
                    WillWipeDisk=_text(),
                    CreatePartitions=_group(
                        CreatePartition=_list(Order=_NEEDED, Type=_NEEDED, Size=_text(), Extend=_text())
                    ),
                    ModifyPartitions=_group(
                        ModifyPartition=_list(
                            Order=_NEEDED,
                            PartitionID=_NEEDED,
                            Format=_text(),
                            Label=_text(32),
                            Letter=_text(1),
                            Active=_text(),
                            TypeID=_text(),
                            Extend=_text(),
                        )
                    ),
                ),
            ),
        ),
        "ImageInstall": _in(
            "windowsPE",
            _group(
                OSImage=_group(
                    InstallFrom=_group(MetaData=_list(Key=_NEEDED, Value=_NEEDED), Path=_text()),
                    InstallTo=_group(DiskID=_NEEDED, PartitionID=_NEEDED),
                    InstallToAvailablePartition=_text(),
                    WillShowUI=_WILL_SHOW_UI,
                )
            ),
        ),
        "UserData": _in(
            "windowsPE",
            _group(
                needed=True,
                AcceptEula=_NEEDED,
                FullName=_text(),
                Organization=_text(),
                ProductKey=_group(Key=_text(29), WillShowUI=_WILL_SHOW_UI),
            ),
        ),
        "RunSynchronous": _in(
            "windowsPE",
            _group(RunSynchronousCommand=_list(Order=_NEEDED, Path=_NEEDED, Description=_text())),
        ),
    },
    "Microsoft-Windows-LUA-Settings": {"EnableLUA": _in("offlineServicing")},
    "Microsoft-Windows-Deployment": {
        "RunSynchronous": _in(
            "auditUser specialize",
            _group(
                RunSynchronousCommand=_list(
                    Order=_NEEDED, Path=_text(259, needed=True), Description=_text(259), WillReboot=_text()
                )
            ),
        )
    },
    "Microsoft-Windows-Security-SPP-UX": {"SkipAutoActivation": _in("specialize", since=WIN7)},
    "Microsoft-Windows-Security-Licensing-SLC-UX": {"SkipAutoActivation": _in("specialize", before=WIN8)},
    "Microsoft-Windows-ServerManager-SvrMgrNc": {
        "DoNotOpenServerManagerAtLogon": _in("generalize specialize")
    },
    "Microsoft-Windows-OutOfBoxExperience": {
        "DoNotOpenInitialConfigurationTasksAtLogon": _in("generalize specialize", before=WIN8)
    },
    "Microsoft-Windows-Shell-Setup": {
        "ComputerName": _in("offlineServicing specialize", _text(15)),
        "TimeZone": _in("auditSystem oobeSystem specialize", _text(256)),
        "RegisteredOwner": _in("auditSystem oobeSystem specialize", _text(256)),
        "RegisteredOrganization": _in("auditSystem oobeSystem specialize", _text(256)),
        "OOBE": _in(
            "oobeSystem",
            _group(
                HideEULAPage=_text(),
                HideLocalAccountScreen=_text(since=WIN8),
                HideOEMRegistrationScreen=_text(since=WIN8),
                HideOnlineAccountScreens=_text(since=WIN8),
                HideWirelessSetupInOOBE=_text(since=WIN7),
                NetworkLocation=_text(),
                ProtectYourPC=_NEEDED,  # it has no default
                SkipMachineOOBE=_text(),
                SkipUserOOBE=_text(),
            ),
        ),
        "UserAccounts": _in(
            "auditSystem oobeSystem",
            _group(
                AdministratorPassword=_PASSWORD,
                LocalAccounts=_group(
                    LocalAccount=_list(
                        Name=_text(20, needed=True),
                        DisplayName=_text(256),
                        Description=_text(256),
                        Group=_text(256),
                        Password=_PASSWORD,
                    )
                ),
            ),
        ),
        "AutoLogon": _in(
            "auditSystem oobeSystem specialize",
            _group(
                Enabled=_NEEDED,
                Username=_text(256, needed=True),
                Domain=_text(256),
                LogonCount=_text(),
                Password=_PASSWORD,
            ),
        ),
        "FirstLogonCommands": _in(
            "oobeSystem",
            _group(
                SynchronousCommand=_list(
                    Order=_NEEDED,
                    CommandLine=_text(1024, needed=True),
                    Description=_text(256),
                    RequiresUserInput=_text(),
                )
            ),
        ),
    },
}
