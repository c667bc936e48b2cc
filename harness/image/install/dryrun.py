"""A dry run: everything an install would use, written into a folder, read back, validated. Starts nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.channel.disc import make_disc
from harness.errors import HarnessError
from harness.image.answer import DRIVERS_FOLDER, AnswerFile
from harness.image.answer_schema import check_autounattend
from harness.image.images import Check
from harness.image.install.discs import (
    DISC_LABEL,
    floppy_problems,
    list_disc,
    list_floppy,
    make_floppy,
    rebuild_disc,
)
from harness.image.install.ingredients import InstallRequest, throwaway
from harness.image.install.layout import InstallFiles, install_machine
from harness.image.install.medium import Medium, look_at_medium, stand_in_medium
from harness.image.install.plan import InstallPlan, KeyOf, plan_install
from harness.image.install.trapchecks import Subject
from harness.image.install.traps import TRAPS
from harness.image.installspec import Delivery, Install
from harness.image.recipe import Recipe
from harness.image.scripts import check_cmd, check_powershell
from harness.machine.describe.firmware import find_firmware
from harness.machine.describe.schema import validate
from harness.machine.describe.spec import Accelerator, Disk, Firmware, Forward, MachineSpec
from harness.machine.describe.xml import domain_xml

__all__ = ["DryRun", "dry_run", "dump_disk_mib", "template_machine"]

#: Domains are only described; nothing is made there.
_FOLDER: Final = Path("/run/harness/dry-run")
_REPORT: Final = "report.json"


@dataclass(frozen=True, slots=True)
class DryRun:
    """What was written into `folder`, what was checked, what is as yet assumed."""

    folder: Path
    files: tuple[str, ...]
    checks: tuple[Check, ...]
    assumed: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


def dump_disk_mib(memory_mib: int) -> int:
    """Room for a dump of all memory beside the dedicated file that Windows keeps for it."""
    return 2 * memory_mib + 2048


def dry_run(
    recipe: Recipe,
    install: Install,
    into: Path,
    *,
    medium: Path | None = None,
    request: InstallRequest | None = None,
) -> DryRun:
    """Write everything into the folder `into`, which is made, and validate it.

    Passwords and keys in there are made for this once; a product key is used as the request names it. Raises
    `MediaError` for a wrong medium, `ToolMissingError` where a tool is missing; what is wrong with the
    install itself is in the result.
    """
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    seen = look_at_medium(medium, recipe, install) if medium is not None else stand_in_medium()
    with throwaway(recipe, request or InstallRequest()) as given:
        plan = plan_install(recipe, install, seen, given)
    files = InstallFiles(into.absolute())
    written = _write_texts(plan, into)
    checks = [
        Check(install.answer.value, _answer_problems(plan)),
        Check("first-boot.cmd", check_cmd(plan.script)),
        *_powershell_checks(plan),
        Check("virtio drivers", tuple(_driver_problems(plan))),
        *_discs(plan, files),
    ]
    machine = install_machine(
        plan, files, name=f"install-{recipe.name}", folder=_FOLDER, accelerator=Accelerator.KVM
    )
    template = template_machine(plan, files)
    for name, spec in (("install.xml", machine), ("template.xml", template)):
        xml = domain_xml(spec, find_firmware(spec.hardware))
        (into / name).write_text(xml, encoding="utf-8")
        checks.append(Check(name, _schema_problems(xml)))
    subject = Subject(plan, machine, template, dump_disk_mib(plan.recipe.hardware.memory_mib))
    checks += [Check(f"trap {trap.number}: {trap.what}", tuple(trap.check(subject))) for trap in TRAPS]
    made = [path for path in (files.disc, files.floppy, files.rebuilt) if path.exists()]
    names = (*written, *(path.name for path in made), "install.xml", "template.xml", _REPORT)
    result = DryRun(into, names, tuple(checks), tuple(_assumed(plan, seen)))
    _write_report(result, plan)
    return result


def template_machine(plan: InstallPlan, files: InstallFiles) -> MachineSpec:
    """The machine that templates of the image are made from, with its disks where the image has them."""
    recipe = plan.recipe
    uefi = recipe.hardware.firmware is not Firmware.BIOS
    return MachineSpec(
        name=recipe.name,
        hardware=recipe.hardware,
        folder=_FOLDER,
        disks=(Disk(files.system), Disk(files.dumps, target=1)),
        forwards=tuple(Forward(port) for port in recipe.guest_ports),
        firmware_variables=files.variables if uefi else None,
        accelerator=Accelerator.KVM,
    )


def _write_texts(plan: InstallPlan, into: Path) -> list[str]:
    """The texts people want to read, beside the discs they are on."""
    texts = {plan.install.answer.value: plan.answer.encode("utf-8")}
    for path, content in plan.files.items():
        if path.endswith((".cmd", ".txt", ".ps1")) and "/OpenSSH/" not in path:
            texts[path.rpartition("/")[2]] = content
    for name, content in texts.items():
        (into / name).write_bytes(content)
        (into / name).chmod(0o600)
    return sorted(texts)


def _answer_problems(plan: InstallPlan) -> tuple[str, ...]:
    if plan.install.answer is AnswerFile.AUTOUNATTEND:
        return check_autounattend(plan.answer, plan.answers.processor_architecture, plan.recipe.version)
    found = []
    if not plan.answer.isascii():
        found.append("holds characters beyond ASCII")
    if plan.answer.count("\n") != plan.answer.count("\r\n"):
        found.append("has lines that don't end with CR LF")
    sections = [line for line in plan.answer.splitlines() if line.startswith("[")]
    if any(not line.rstrip().endswith("]") for line in sections) or len(set(sections)) != len(sections):
        found.append("has a section that is not closed, or twice")
    return tuple(found)


def _powershell_checks(plan: InstallPlan) -> Iterable[Check]:
    """Those of the harness; a release of OpenSSH brings its own."""
    for path, content in plan.files.items():
        if path.endswith(".ps1") and "/OpenSSH/" not in path:
            yield Check(path.rpartition("/")[2], check_powershell(content.decode("ascii", "replace")))


def _driver_problems(plan: InstallPlan) -> Iterable[str]:
    """Whether setup finds the drivers that the machine needs, and only where they were given."""
    asked = any(path.endswith(f"\\{DRIVERS_FOLDER}") for path in plan.answers.driver_paths)
    held = any(path.startswith(f"{DRIVERS_FOLDER}/") for path in plan.files)
    if asked != held or asked != ("<DriverPaths>" in plan.answer):
        yield "drivers are on the disc and not asked for, or the other way round"


def _discs(plan: InstallPlan, files: InstallFiles) -> Iterable[Check]:
    """Make the discs, read them back, and compare."""
    discs = plan.discs
    checks = []
    if discs.disc:
        make_disc(discs.disc, DISC_LABEL, files.disc)
        checks.append(Check(files.disc.name, _difference(discs.disc, list_disc(files.disc))))
    if discs.floppy:
        make_floppy(files.floppy, discs.floppy)
        problems = (*_difference(discs.floppy, list_floppy(files.floppy)), *floppy_problems(files.floppy))
        checks.append(Check(files.floppy.name, problems))
    if discs.medium:
        if plan.medium.path is not None:
            rebuild_disc(plan.medium.path, files.rebuilt, discs.medium)
        else:
            make_disc(discs.medium, "STAND_IN", files.rebuilt)
        held = {path: content for path, content in list_disc(files.rebuilt).items() if path in discs.medium}
        checks.append(Check(files.rebuilt.name, _difference(discs.medium, held)))
    return checks


def _difference(wanted: Mapping[str, bytes], held: Mapping[str, bytes]) -> tuple[str, ...]:
    found = [f"{path} is not on it" for path in sorted(wanted.keys() - held.keys())]
    found += [f"{path} is on it, and should not be" for path in sorted(held.keys() - wanted.keys())]
    found += [
        f"{path} reads differently" for path in wanted.keys() & held.keys() if wanted[path] != held[path]
    ]
    return tuple(found)


def _schema_problems(xml: str) -> tuple[str, ...]:
    try:
        validate(xml)
    except HarnessError as error:
        return (str(error),)
    return ()


def _assumed(plan: InstallPlan, medium: Medium) -> Iterable[str]:
    if medium.is_stand_in:
        yield str(medium)
        if plan.install.delivery is Delivery.REBUILT_CD:
            yield "the rebuilt CD holds what is added only; with --media it is a copy of the medium"
        if plan.answers.product_key:
            yield "the product key is none: XXXXX stands for yours"
    elif plan.product_key is KeyOf.MICROSOFT:
        yield (
            "no product key was given: setup gets the one that Microsoft publishes for this edition, which "
            "installs and does not activate"
        )
    yield "passwords and keys are made for this dry run and are no image's"


def _write_report(result: DryRun, plan: InstallPlan) -> None:
    discs = plan.discs
    report = {
        "recipe": plan.recipe.name,
        "ok": result.ok,
        "medium": str(plan.medium),
        "assumed": list(result.assumed),
        "drivers": str(plan.drivers or "none beyond those of the system"),
        "discs": {
            name: {path: len(content) for path, content in sorted(contents.items())}
            for name, contents in (("cd", discs.disc), ("floppy", discs.floppy), ("medium", discs.medium))
            if contents
        },
        "checks": [{"what": check.what, "problems": list(check.problems)} for check in result.checks],
    }
    (result.folder / _REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
