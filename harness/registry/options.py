"""Flags of registry calls: create and open options, hive load, restore, save and unload flags.

Sources: wdm.h, nf-wdm-zwcreatekey, nf-wdm-zwopenkeyex, sdk regrestorekeya, sdk regsavekeyexa; load flags
without a page carry the names of the public phnt headers.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = [
    "REG_CREATED_NEW_KEY",
    "REG_FORCE_UNLOAD",
    "REG_OPENED_EXISTING_KEY",
    "KeyOptions",
    "LoadFlags",
    "SaveFormat",
]

REG_CREATED_NEW_KEY: Final = 1
REG_OPENED_EXISTING_KEY: Final = 2

#: NtUnloadKey2: unload although handles to keys of the hive are open.
REG_FORCE_UNLOAD: Final = 1


class KeyOptions(enum.IntEnum):
    """REG_OPTION_*: create and open options. REG_OPTION_NON_VOLATILE is 0."""

    NON_VOLATILE = 0x0000
    VOLATILE = 0x0001
    CREATE_LINK = 0x0002
    BACKUP_RESTORE = 0x0004
    OPEN_LINK = 0x0008
    DONT_VIRTUALIZE = 0x0010


class LoadFlags(enum.IntEnum):
    """Flags of NtLoadKeyEx and of NtRestoreKey (the first four)."""

    WHOLE_HIVE_VOLATILE = 0x0001
    REFRESH_HIVE = 0x0002
    NO_LAZY_FLUSH = 0x0004
    FORCE_RESTORE = 0x0008
    APP_HIVE = 0x0010
    PROCESS_PRIVATE = 0x0020
    START_JOURNAL = 0x0040
    HIVE_EXACT_FILE_GROWTH = 0x0080
    HIVE_NO_RM = 0x0100
    HIVE_SINGLE_LOG = 0x0200
    BOOT_HIVE = 0x0400
    LOAD_HIVE_OPEN_HANDLE = 0x0800
    FLUSH_HIVE_FILE_GROWTH = 0x1000
    OPEN_READ_ONLY = 0x2000
    IMMUTABLE = 0x4000
    NO_IMPERSONATION_FALLBACK = 0x8000


class SaveFormat(enum.IntEnum):
    """Format of a saved hive (sdk regsavekeyexa)."""

    STANDARD = 1
    LATEST = 2
    NO_COMPRESSION = 4
