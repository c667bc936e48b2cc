"""Which pool tags a driver's code mentions: constants of four printable characters that it moves or pushes.

A tag is an argument of ExAllocatePoolWithTag, ExAllocatePool2 and their kin, each of whose characters has a
value from 0x20 to 0x7E (wdm/nf-wdm-exallocatepoolwithtag); compilers make it an instruction's immediate. What
else looks like one does no harm: nobody ever allocates with it.
"""

from __future__ import annotations

import re
from typing import Final

import pefile

from harness.driver.image import IMAGE_SCN_MEM_EXECUTE

__all__ = ["MAX_MENTIONED", "mentioned_tags"]

#: Tags that one driver's code may mention, and of those that are more, none is taken.
MAX_MENTIONED: Final = 2048
#: mov r32, imm32; push imm32; mov [esp/rsp/rbp + n], imm32 (Intel SDM, volume 2); they may begin anywhere.
_IMMEDIATE: Final = re.compile(
    rb"(?=(?:[\xb8-\xbf]|\x68|\xc7(?:\x04\x24|\x44\x24.|\x45.|\x84\x24.{4}|\x85.{4}))([\x20-\x7e]{4}))",
    re.DOTALL,
)


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
