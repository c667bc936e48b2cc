"""File system minifilters that also filter the registry: what their service must have.

A driver package's INF writes the service's type, its load order group and an ``Instances`` key, which the
filter manager reads (ifs/creating-an-inf-file-for-a-minifilter-driver). Drivers come to the harness without
an INF, so that it writes what one would.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final

import pefile

__all__ = ["LOAD_ORDER_GROUP", "SERVICE_TYPE", "instance_keys", "is_minifilter"]

#: SERVICE_FILE_SYSTEM_DRIVER and a group, which that page asks every minifilter to have.
SERVICE_TYPE: Final = 2
LOAD_ORDER_GROUP: Final = "FSFilter Activity Monitor"

_MANAGER: Final = b"fltmgr.sys"
_REGISTERS: Final = b"FltRegisterFilter"


def is_minifilter(image: bytes) -> bool:
    """Whether the driver registers with the filter manager; False for what is no image at all."""
    if _REGISTERS not in image:
        return False
    try:
        pe = pefile.PE(data=image, fast_load=True)
        pe.parse_data_directories([pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"]])
        modules = getattr(pe, "DIRECTORY_ENTRY_IMPORT", [])
        return any(module.dll.lower() == _MANAGER for module in modules)
    except Exception:  # pefile runs into all kinds of exceptions on malformed headers
        return False


def instance_keys(service: str) -> Mapping[str, Mapping[str, int | str]]:
    """Keys below the service's key, and their values: one instance that attaches by itself.

    Twice, since the place is ``Parameters\\Instances`` from Windows 11 24H2 on, by the same page. The
    altitude is in the group's range (ifs/load-order-groups-and-altitudes-for-minifilter-drivers), with a
    fraction made of the service's name: two instances at one altitude collide.
    """
    name = f"{service} Instance"
    altitude = f"370000.{zlib.crc32(service.lower().encode()) % 10**6:06}"
    keys: dict[str, Mapping[str, int | str]] = {}
    for root in ("Instances", "Parameters\\Instances"):
        keys[root] = {"DefaultInstance": name}
        keys[f"{root}\\{name}"] = {"Altitude": altitude, "Flags": 0}
    return keys
