"""What is known to break unattended installs under QEMU, and the check that a plan avoids each.

The list and its sources: projects that install Windows this way (avocado-vt, AutoHCK, dockur/windows,
rgl/windows-vagrant, schneegans' unattend-generator) and Microsoft's pages; docs/images.md tells them.
The checks are those of `harness.image.install.trapchecks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harness.image.install import trapchecks
from harness.image.install.trapchecks import Check

__all__ = ["TRAPS", "Trap"]


@dataclass(frozen=True, slots=True)
class Trap:
    """`what` goes wrong; `avoided` says how; `check` finds plans that don't."""

    number: int
    what: str
    avoided: str
    check: Check


#: Numbered as in docs/images.md.
TRAPS: Final[tuple[Trap, ...]] = (
    Trap(
        1,
        "the prompt of a CD is missed, or keys go on too long",
        "a harmless key every second until setup has told its first stage, for a bounded time; the disk "
        "comes before the CD, so that the prompt is never answered again",
        trapchecks.prompt,
    ),
    Trap(
        2,
        "an empty product key, or one that fits no edition",
        "setup gets the key that Microsoft publishes for the edition, if there is one, else no Key element; "
        "where it stops without one of yours, the build asks for it",
        trapchecks.key,
    ),
    Trap(
        3,
        "the image's name differs between media",
        "the catalogue is read, the image chosen by index",
        trapchecks.index,
    ),
    Trap(
        4,
        "a processor without SSE4.2 and POPCNT from 24H2 on",
        "the family's processor is Nehalem",
        trapchecks.processor,
    ),
    Trap(
        5,
        "a floppy that text-mode setup does not read",
        "FAT12 of 1.44 MB, read back and checked",
        trapchecks.floppy,
    ),
    Trap(6, "XP and 2003 on q35 or AHCI", "pc, IDE, rtl8139", trapchecks.old_hardware),
    Trap(7, "long mode or a missing NX on 32 bits", "-lm for x86, NX always on", trapchecks.long_mode),
    Trap(8, "Windows 7 and 2008 R2 on UEFI", "BIOS", trapchecks.seven_on_uefi),
    Trap(9, "2012 R2 on q35 with a UUID", "pc and BIOS for 8.1 and 2012 R2", trapchecks.uuid),
    Trap(
        10,
        "disk 0 is another one, or the layout is not the firmware's",
        "answers come on a CD or floppy; the layout follows from the firmware",
        trapchecks.layout,
    ),
    Trap(
        11,
        "components of another architecture, no windowsPE pass",
        "the answer file is checked against the documented components and passes",
        trapchecks.components,
    ),
    Trap(
        12,
        "an incomplete locale, a language not on the medium",
        "all four, in the medium's language",
        trapchecks.locale,
    ),
    Trap(
        13,
        "a second answer file is found first",
        "there is one; a medium with its own is refused",
        trapchecks.one_answer,
    ),
    Trap(
        14,
        "Secure Boot with test signing",
        "what is installed with Secure Boot is run without it, on firmware with the same variables, and test "
        "signing is switched on then, in a start of its own",
        trapchecks.signing,
    ),
    Trap(
        15,
        "a Public network",
        "the first boot makes it private and waits until it is identified",
        trapchecks.network,
    ),
    Trap(
        16,
        "a shell that answers before setup is over",
        "setup's own state is asked; WinRM opens last",
        trapchecks.winrm_last,
    ),
    Trap(
        17, "SetupComplete.cmd is not run", "FirstLogonCommands start the first boot", trapchecks.first_logon
    ),
    Trap(
        18,
        "the machine ends before the dump, or the dump is deleted",
        "a crashed machine stays; a disk of its own for dumps, kept whatever is free",
        trapchecks.dumps,
    ),
    Trap(
        19,
        "SHA-256 signatures on Vista and 7",
        "drivers for these, and the certificate they are signed with, are signed with SHA-1",
        trapchecks.sha2,
    ),
    Trap(
        20,
        "setup starts over from the CD, or something freezes the scripts",
        "disk before CD, restarts counted, no automatic restart after a stop, QuickEdit off",
        trapchecks.loops,
    ),
)
