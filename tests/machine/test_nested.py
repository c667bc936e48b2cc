"""Memory integrity's processor: added where this host can, refused with the reason where it can't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.machine.describe.axes import Axis
from harness.machine.describe.spec import Accelerator, Hardware, SealedImage
from harness.machine.inside import nested
from harness.machine.inside.axes import SwitchedOn
from harness.machine.inside.nested import nested_flag, on_this_host, with_virtualisation

IMAGE = SealedImage("win11+hvci", "d1", Hardware(cpu="Nehalem"), ())
HVCI = SwitchedOn((Axis.HVCI,))


def host(folder: Path, module: str, nested: str) -> Path:
    place = folder / module / "parameters" / "nested"
    place.parent.mkdir(parents=True)
    place.write_text(f"{nested}\n")
    return folder


@pytest.mark.parametrize(
    ("module", "value", "flag"),
    [("kvm_intel", "Y", "vmx"), ("kvm_intel", "1", "vmx"), ("kvm_amd", "1", "svm")],
)
def test_the_kernel_says_whether_guests_may_virtualise(
    tmp_path: Path, module: str, value: str, flag: str
) -> None:
    assert nested_flag(host(tmp_path, module, value)) == flag


def test_where_they_may_not_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="options kvm_amd nested=1"):
        nested_flag(host(tmp_path, "kvm_amd", "0"))
    with pytest.raises(InfrastructureError, match="has no KVM of Intel's or AMD's kind"):
        nested_flag(tmp_path / "none")


@pytest.mark.parametrize(
    ("cpu", "flag", "becomes"),
    [
        ("Nehalem", "vmx", "Nehalem,+vmx"),
        ("Skylake-Client,-hle", "vmx", "Skylake-Client,-hle,+vmx"),
        ("Nehalem", "svm", "EPYC,+svm"),
        ("EPYC-Rome", "svm", "EPYC-Rome,+svm"),
        ("max", "svm", "max,+svm"),
        ("Skylake-Client,+vmx", "vmx", "Skylake-Client,+vmx"),
        ("EPYC,svm,-x2apic", "vmx", "EPYC,svm,-x2apic"),
        ("EPYC,-svm", "svm", "EPYC,+svm"),
        ("Nehalem,+vmxoff", "vmx", "Nehalem,+vmxoff,+vmx"),
    ],
)
def test_the_processor_gets_it_unless_the_recipe_says_so(cpu: str, flag: str, becomes: str) -> None:
    assert with_virtualisation(Hardware(cpu=cpu), flag).cpu == becomes


def test_an_image_changes_for_memory_integrity_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nested, "nested_flag", lambda: "vmx")
    changed = on_this_host(IMAGE, HVCI, Accelerator.KVM)
    assert changed.hardware == replace(IMAGE.hardware, cpu="Nehalem,+vmx")
    assert changed.digest != IMAGE.digest
    assert on_this_host(IMAGE, SwitchedOn((Axis.VERIFIER,)), Accelerator.TCG) is IMAGE


def test_without_kvm_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InfrastructureError, match=r"win11\+hvci: memory integrity needs .* don't run on KVM here"
    ):
        on_this_host(IMAGE, HVCI, Accelerator.TCG)

    def off() -> str:
        raise InfrastructureError("nested virtualisation is off on this host")

    monkeypatch.setattr(nested, "nested_flag", off)
    with pytest.raises(
        InfrastructureError, match=r"needs a hypervisor in the guest; nested virtualisation is off"
    ):
        on_this_host(IMAGE, HVCI, Accelerator.KVM)
