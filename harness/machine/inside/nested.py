"""Processors with virtualisation for guests that run a hypervisor of their own, as memory integrity does.

Only KVM offers that, and only where the host lets it (nested virtualisation): the kernel says so below
/sys/module (Documentation/virt/kvm/x86/running-nested-guests.rst). A host without it is refused before an
hour is lost with a guest that can't do what its name says.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.machine.describe.axes import Axis
from harness.machine.describe.spec import Accelerator, Hardware, SealedImage
from harness.machine.inside.axes import SwitchedOn

__all__ = ["nested_flag", "on_this_host", "with_virtualisation"]

#: The processor's flag by the module of KVM that runs on it.
_MODULES: Final = {"kvm_intel": "vmx", "kvm_amd": "svm"}
_HAS: Final = re.compile(r",\+?(vmx|svm)(,|$)")
#: QEMU's models of AMD's processors, by the beginning of their names; "max" is the host's own vendor's.
_AMD: Final = ("EPYC", "Opteron", "phenom", "max")


def nested_flag(modules: Path = Path("/sys/module")) -> str:
    """ "vmx" or "svm" where guests may virtualise. Raises `InfrastructureError` that says what is missing."""
    for module, flag in _MODULES.items():
        try:
            if (modules / module / "parameters" / "nested").read_text().strip() in ("Y", "1"):
                return flag
        except OSError:
            continue
        raise InfrastructureError(
            f"nested virtualisation is off on this host: put 'options {module} nested=1' into a file in "
            "/etc/modprobe.d and restart"
        )
    raise InfrastructureError("this host has no KVM of Intel's or AMD's kind, which nested guests need")


def with_virtualisation(hardware: Hardware, flag: str) -> Hardware:
    """The hardware with a processor that has `flag`; as it is where its recipe says so already.

    On a host of AMD's the model becomes one of AMD's: no other has svm.
    """
    if _HAS.search(hardware.cpu):
        return hardware
    model, *flags = hardware.cpu.split(",")
    if flag == "svm" and not model.startswith(_AMD):
        model = "EPYC"
    kept = [each for each in flags if each not in (f"-{flag}", f"{flag}=off")]
    return replace(hardware, cpu=",".join([model, *kept, f"+{flag}"]))


def on_this_host(image: SealedImage, on: SwitchedOn, accelerator: Accelerator | None = None) -> SealedImage:
    """The image with what its axes need of this host; `accelerator` is this host's unless given.

    Raises `InfrastructureError` where the host hasn't got it.
    """
    if Axis.HVCI not in on.axes:
        return image
    runs_on, why = (accelerator, "") if accelerator is not None else _accelerator()
    needs = f"{image.name}: memory integrity needs a hypervisor in the guest"
    if runs_on is not Accelerator.KVM:
        raise InfrastructureError(f"{needs}, and machines don't run on KVM here{why}")
    try:
        hardware = with_virtualisation(image.hardware, nested_flag())
    except InfrastructureError as error:
        raise InfrastructureError(f"{needs}; {error}") from error
    digest = hashlib.sha256(f"{image.digest} {hardware.cpu}".encode()).hexdigest()
    return replace(image, hardware=hardware, digest=digest)


def _accelerator() -> tuple[Accelerator, str]:
    from harness.machine.hypervisor.accelerator import find_accelerator
    from harness.machine.keep.places import Places

    found = find_accelerator(Places.standard().cache)
    return found.accelerator, f": {found.reason}"
