"""Validation of answer files: component names, passes and elements, as Microsoft documents them.

Source of the names: "Unattended Windows Setup Reference" (the page of each component lists the passes it is
valid in and its child elements). Only what the templates may use is listed: an element that is not here is a
mistake until its page has been read. Setup itself skips what it does not know without a word.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["check_autounattend"]

_NAMESPACE: Final = "{urn:schemas-microsoft-com:unattend}"
_ACTION: Final = "{http://schemas.microsoft.com/WMIConfig/2002/State}action"
_TOKEN: Final = "31bf3856ad364e35"

#: Element name -> what may be below it; None: text.
Elements = Mapping[str, "Elements | None"]


@dataclass(frozen=True, slots=True)
class _Component:
    passes: frozenset[str]
    elements: Elements


def _text(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


_LOCALES: Final = _text("InputLocale", "SystemLocale", "UILanguage", "UILanguageFallback", "UserLocale")
_PASSWORD: Final[Elements] = _text("Value", "PlainText")
_RUN_SYNCHRONOUS: Final[Elements] = {
    "RunSynchronousCommand": _text("Description", "Order", "Path", "WillReboot")
}

_COMPONENTS: Final[dict[str, _Component]] = {
    "Microsoft-Windows-International-Core-WinPE": _Component(
        frozenset({"windowsPE"}),
        {**_LOCALES, "SetupUILanguage": _text("UILanguage", "WillShowUI"), "LayeredDriver": None},
    ),
    "Microsoft-Windows-PnpCustomizationsWinPE": _Component(
        frozenset({"windowsPE"}), {"DriverPaths": {"PathAndCredentials": _text("Path")}}
    ),
    "Microsoft-Windows-International-Core": _Component(frozenset({"specialize", "oobeSystem"}), _LOCALES),
    "Microsoft-Windows-Setup": _Component(
        frozenset({"windowsPE"}),
        {
            "DynamicUpdate": _text("Enable", "WillShowUI"),
            "DiskConfiguration": {
                "WillShowUI": None,
                "Disk": {
                    **_text("DiskID", "WillWipeDisk"),
                    "CreatePartitions": {"CreatePartition": _text("Order", "Type", "Size", "Extend")},
                    "ModifyPartitions": {
                        "ModifyPartition": _text(
                            "Order", "PartitionID", "Format", "Label", "Letter", "Active", "TypeID", "Extend"
                        )
                    },
                },
            },
            "ImageInstall": {
                "OSImage": {
                    "InstallFrom": {"MetaData": _text("Key", "Value"), "Path": None},
                    "InstallTo": _text("DiskID", "PartitionID"),
                    "InstallToAvailablePartition": None,
                    "WillShowUI": None,
                }
            },
            "UserData": {
                **_text("AcceptEula", "FullName", "Organization"),
                "ProductKey": _text("Key", "WillShowUI"),
            },
            "RunSynchronous": _RUN_SYNCHRONOUS,
        },
    ),
    "Microsoft-Windows-LUA-Settings": _Component(frozenset({"offlineServicing"}), _text("EnableLUA")),
    "Microsoft-Windows-Deployment": _Component(
        frozenset({"auditUser", "specialize", "oobeSystem"}), {"RunSynchronous": _RUN_SYNCHRONOUS}
    ),
    "Microsoft-Windows-Security-SPP-UX": _Component(frozenset({"specialize"}), _text("SkipAutoActivation")),
    "Microsoft-Windows-Security-Licensing-SLC-UX": _Component(
        frozenset({"specialize"}), _text("SkipAutoActivation")
    ),
    "Microsoft-Windows-ServerManager-SvrMgrNc": _Component(
        frozenset({"specialize"}), _text("DoNotOpenServerManagerAtLogon")
    ),
    "Microsoft-Windows-OutOfBoxExperience": _Component(
        frozenset({"specialize"}), _text("DoNotOpenInitialConfigurationTasksAtLogon")
    ),
    "Microsoft-Windows-SecureStartup-FilterDriver": _Component(
        frozenset({"specialize", "oobeSystem"}), _text("PreventDeviceEncryption")
    ),
    "Microsoft-Windows-Shell-Setup": _Component(
        frozenset({"specialize", "oobeSystem", "auditSystem", "auditUser", "generalize"}),
        {
            **_text("ComputerName", "TimeZone", "RegisteredOwner", "RegisteredOrganization", "ProductKey"),
            "OOBE": _text(
                "HideEULAPage",
                "HideLocalAccountScreen",
                "HideOEMRegistrationScreen",
                "HideOnlineAccountScreens",
                "HideWirelessSetupInOOBE",
                "NetworkLocation",
                "ProtectYourPC",
                "SkipMachineOOBE",
                "SkipUserOOBE",
            ),
            "UserAccounts": {
                "AdministratorPassword": _PASSWORD,
                "LocalAccounts": {
                    "LocalAccount": {
                        **_text("Name", "DisplayName", "Description", "Group"),
                        "Password": _PASSWORD,
                    }
                },
            },
            "AutoLogon": {**_text("Enabled", "Username", "Domain", "LogonCount"), "Password": _PASSWORD},
            "FirstLogonCommands": {
                "SynchronousCommand": _text("CommandLine", "Description", "Order", "RequiresUserInput")
            },
        },
    ),
}

#: Elements of lists: each needs wcm:action="add".
_LISTED: Final = frozenset(
    {
        "Disk",
        "CreatePartition",
        "ModifyPartition",
        "MetaData",
        "RunSynchronousCommand",
        "SynchronousCommand",
        "LocalAccount",
        "PathAndCredentials",
    }
)
_PASSES: Final = frozenset(
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


def check_autounattend(text: str, architecture: str) -> tuple[str, ...]:
    """What is wrong with an answer file for `architecture` ("amd64", "x86"), in words; empty when sound."""
    try:
        root = ElementTree.fromstring(text.encode("utf-8"))
    except ElementTree.ParseError as error:
        return (f"not well-formed XML: {error}",)
    return tuple(_mistakes(root, architecture))


def _mistakes(root: ElementTree.Element, architecture: str) -> Iterator[str]:
    if root.tag != f"{_NAMESPACE}unattend":
        yield f"the root is {root.tag}, not unattend of urn:schemas-microsoft-com:unattend"
        return
    passes: list[str] = []
    for settings in root:
        if settings.tag != f"{_NAMESPACE}settings":
            yield f"{_name(settings)} below unattend; only settings belong there"
            continue
        where = settings.get("pass", "")
        passes.append(where)
        if where not in _PASSES:
            yield f"there is no pass {where!r}"
        seen: set[str] = set()
        for component in settings:
            name = component.get("name", "")
            if name in seen:
                yield f"{where}: {name} twice"
            seen.add(name)
            yield from _component(component, name, where, architecture)
    for doubled in sorted({where for where in passes if passes.count(where) > 1}):
        yield f"pass {doubled} twice"
    if "windowsPE" not in passes:
        yield "no windowsPE pass: the commands of specialize are not run without one"


def _component(component: ElementTree.Element, name: str, where: str, architecture: str) -> Iterator[str]:
    known = _COMPONENTS.get(name)
    if known is None:
        yield f"{where}: the component {name!r} is not a documented one"
        return
    if where not in known.passes:
        yield f"{name} is valid in {', '.join(sorted(known.passes))}, not in {where}"
    if component.get("processorArchitecture") != architecture:
        yield (
            f"{where}: {name} is for {component.get('processorArchitecture')!r}, the medium for "
            f"{architecture!r}: setup skips it without a word"
        )
    for attribute, wanted in (
        ("publicKeyToken", _TOKEN),
        ("language", "neutral"),
        ("versionScope", "nonSxS"),
    ):
        if component.get(attribute) != wanted:
            yield f"{where}: {name} has {attribute}={component.get(attribute)!r}, not {wanted!r}"
    yield from _elements(component, known.elements, f"{where}: {name}")


def _elements(parent: ElementTree.Element, allowed: Elements, where: str) -> Iterator[str]:
    for child in parent:
        name = _name(child)
        if name not in allowed:
            yield f"{where}: no element {name!r} is documented there"
            continue
        if name in _LISTED and child.get(_ACTION) != "add":
            yield f"{where}: {name} needs wcm:action='add'"
        below = allowed[name]
        if below is not None:
            yield from _elements(child, below, f"{where}/{name}")
        elif len(child):
            yield f"{where}: {name} holds text, not elements"
        elif not (child.text or "").strip():
            yield f"{where}: {name} is empty, and setup stops to ask"


def _name(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(_NAMESPACE)
