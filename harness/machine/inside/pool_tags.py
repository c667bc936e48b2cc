"""Which pool tags a driver may use: what its code mentions, and what the driver framework makes of its name.

In code a tag is a constant that an instruction moves or pushes: an argument of ExAllocatePoolWithTag,
ExAllocatePool2 and their kin, of four characters from 0x20 to 0x7E (wdm/nf-wdm-exallocatepoolwithtag). What
else looks like one does no harm: nobody ever allocates with it.
"""

from __future__ import annotations

import re
from typing import Final

import pefile

from harness.driver.image import IMAGE_SCN_MEM_EXECUTE

__all__ = ["MAX_MENTIONED", "framework_tag", "mentioned_tags"]

#: Tags that one driver's code may mention, and of those that are more, none is taken.
MAX_MENTIONED: Final = 2048
#: mov r32, imm32; push imm32; mov [esp/rsp/rbp + n], imm32 (Intel SDM, volume 2); they may begin anywhere.
_IMMEDIATE: Final = re.compile(
    rb"(?=(?:[\xb8-\xbf]|\x68|\xc7(?:\x04\x24|\x44\x24.|\x45.|\x84\x24.{4}|\x85.{4}))([\x20-\x7e]{4}))",
    re.DOTALL,
)
#: What the names of some drivers begin with; the framework goes on behind it.
_FRAMEWORK: Final = "wdf"


def framework_tag(service: str) -> bytes | None:
    """The tag of a framework driver that names none itself, if it is the driver's alone.

    The first four characters of the service's name, or those behind "WDF" (DriverPoolTag of
    wdfdriver/ns-wdfdriver-_wdf_driver_config).
    """
    name = service[len(_FRAMEWORK) :] if service.lower().startswith(_FRAMEWORK) else service
    tag = name[:4].encode("ascii", "replace")
    return tag if len(tag) == 4 and tag.isascii() and b"?" not in tag else None


def mentioned_tags(image: bytes) -> tuple[bytes, ...]:
    """Candidates as they are in memory, sorted; none for what is no executable image."""
    found: set[bytes] = set()
    try:
        pe = pefile.PE(data=image, fast_load=True)
        code = [each.get_data() for each in pe.sections if each.Characteristics & IMAGE_SCN_MEM_EXECUTE]
    except pefile.PEFormatError:
        return ()
    for section in code:
        found.update(match[1] for match in _IMMEDIATE.finditer(section))
    return tuple(sorted(found)) if len(found) <= MAX_MENTIONED else ()
