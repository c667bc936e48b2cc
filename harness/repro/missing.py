"""What a bundle needs and this host lacks or has differently, found out before anything runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError, UsageError
from harness.repro.rerun import find_test

if TYPE_CHECKING:
    from harness.machine.describe.spec import Hardware
    from harness.repro.bundle import Bundle
    from harness.targets import Target

__all__ = ["check", "missing", "programs", "recipe_folders"]


def missing(bundle: Bundle, target: str, recipes: Sequence[Path] = ()) -> tuple[list[str], list[str]]:
    """What differs, and what makes a run impossible; a line each."""
    notes = _differences(bundle)
    trouble: list[str] = []
    chosen = _target(bundle, target, recipes, trouble)
    if chosen is not None:
        _guest(bundle, chosen, notes, trouble)
    return notes, trouble


def _differences(bundle: Bundle) -> list[str]:
    """What of the test is not as it was."""
    manifest = bundle.manifest
    notes = []
    test = find_test(bundle)
    if test is None:
        notes.append(f"the test's file {manifest.test.file} is not here: its recorded steps are replayed")
    elif not test.same:
        notes.append(f"{manifest.test.file} was changed since: its text is not the one that failed")
    if manifest.dropped:
        notes.append(f"{manifest.dropped} calls of the test were too many to keep: steps alone won't do")
    if manifest.test.earlier:
        count = len(manifest.test.earlier)
        notes.append(f"{count} tests ran on the same guest before it; --earlier runs them too")
    for plugin in manifest.test.plugins:
        if not plugin.startswith("no:") and _is_missing(plugin):
            notes.append(f"the plugin {plugin}, given with -p, is not installed here")
    return notes


def _is_missing(module: str) -> bool:
    try:
        return find_spec(module) is None and not Path(f"{module.replace('.', '/')}.py").is_file()
    except (ImportError, ValueError):
        return True


def recipe_folders(bundle: Bundle, recipes: Sequence[Path]) -> list[Path]:
    """Where recipes are looked for: in `recipes`, then where the run did, as far as that is here."""
    then = (Path(folder) for folder in bundle.manifest.test.recipes)
    return [*recipes, *(folder for folder in then if folder.is_dir())]


def _target(bundle: Bundle, name: str, recipes: Sequence[Path], trouble: list[str]) -> Target | None:
    from harness.targets import parse_target

    try:
        return parse_target(name, recipe_folders(bundle, recipes))
    except HarnessError as error:
        trouble.append(f"target {name}: {error}")
        return None


def _guest(bundle: Bundle, target: Target, notes: list[str], trouble: list[str]) -> None:
    """Extras, image, template and QEMU."""
    needed = ("unicorn", "reference") if target.recipe is None else ("libvirt", "machines")
    if find_spec(needed[0]) is None:
        trouble.append(f"{target} needs {needed[0]}: pip install 'regfilter-harness[{needed[1]}]'")
        return
    manifest = bundle.manifest
    architectures = {manifest.guest.arch, target.arch.value}
    if len(architectures) > 1 and manifest.own_driver is not None:
        notes.append(f"the driver was built for {manifest.guest.arch}, {target} is {target.arch}")
    if target.recipe is not None:
        _machine(bundle, target, notes, trouble)


def _machine(bundle: Bundle, target: Target, notes: list[str], trouble: list[str]) -> None:
    from harness.image.images import ensure_image, is_built
    from harness.image.recipe import load_recipe
    from harness.repro.machines import qemu_version

    assert target.recipe is not None
    recorded = bundle.manifest.guest
    recipe = load_recipe(target.recipe)
    trouble += programs(recipe.hardware)
    if not is_built(recipe):
        trouble.append(f"the image of {target} is not built here: {recipe.build_command}")
        return
    if target.name != bundle.manifest.target:
        return  # another machine on purpose
    image = ensure_image(recipe)
    if recorded.template and not target.axes and image.digest != recorded.template:
        notes.append(
            f"the image of {target} is another one: {image.digest[:12]} here, {recorded.template[:12]} then"
        )
    emulator = qemu_version(image.hardware.arch)
    if recorded.qemu and emulator and emulator != recorded.qemu:
        notes.append(f"QEMU is {emulator} here, it was {recorded.qemu}")


def programs(hardware: Hardware) -> Iterator[str]:
    """What this host has to have for such a machine, and hasn't: emulator, UEFI firmware, TPM."""
    from harness.machine.describe.firmware import find_firmware
    from harness.machine.hypervisor.tpm import TOOLS
    from harness.repro.machines import qemu_version

    if not qemu_version(hardware.arch):
        yield f"QEMU for {hardware.arch} is missing: tools/bootstrap.sh machines"
    try:
        find_firmware(hardware)
    except HarnessError as error:
        yield str(error)
    if hardware.tpm:
        for tool, package in TOOLS.items():
            if shutil.which(tool) is None:
                yield f"{tool} is missing, for the machine's TPM: apt-get install {package}"


def check(bundle: Bundle, target: str, recipes: Sequence[Path] = ()) -> list[str]:
    """What differs here; raises `UsageError` with everything that makes a run impossible."""
    notes, trouble = missing(bundle, target, recipes)
    if trouble:
        lines = "".join(f"\n  {line}" for line in trouble)
        raise UsageError(f"this bundle can't be run here:{lines}")
    return notes
