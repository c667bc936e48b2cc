"""From a medium to a sealed image: everything prepared, setup run, the disk compacted, the result asked.

All files are made in the store's own temporary folder, under its lock: an image is there as a whole or not at
all, and a build that was killed leaves nothing that the next one does not remove. Only a disk that setup has
come to its end with is kept until it answered: the next build goes on from there.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.channel.disc import make_disc
from harness.channel.environment import Environment
from harness.errors import InfrastructureError
from harness.image.digest import adopted_digest, digest_of, install_key
from harness.image.install.attestation import AnotherSystemError, Attest, attest_image
from harness.image.install.discs import DISC_LABEL, make_floppy, rebuild_disc
from harness.image.install.dryrun import dump_disk_mib
from harness.image.install.ingredients import InstallRequest, gather
from harness.image.install.installed import DRIVERS_FACT, RECIPE_FACT, TPM, installed_image
from harness.image.install.kept import KeptInstall
from harness.image.install.layout import InstallFiles, install_machine
from harness.image.install.medium import look_at_medium
from harness.image.install.plan import CERTIFICATE, RUNNER, InstallPlan, plan_install
from harness.image.install.run import Observer, run_install
from harness.image.install.stages import Progress, Schedule, schedule_of
from harness.image.install.testsigning import SwitchTestSigning, switch_test_signing_on
from harness.image.installspec import Install
from harness.image.recipe import Recipe
from harness.image.store import KEEP, ImageStore, Stored
from harness.image.tools import Progress as Tell
from harness.image.tools import find_tool, quiet, run
from harness.machine.clones.admission import Admission, Appetite
from harness.machine.describe.spec import Accelerator, SealedImage
from harness.machine.hypervisor.host import Host
from harness.machine.keep.places import private_folder, require_space
from harness.machine.keep.session import Session

__all__ = ["InstallSettings", "evidence_folder", "install_image"]

log = logging.getLogger(__name__)

#: What an installed Windows takes at most before it is compacted, beside its compacted form.
_ROOM: Final = 40 << 30
_ADMISSION_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class InstallSettings:
    """How it is done."""

    accelerator: Accelerator = Accelerator.TCG
    schedule: Schedule | None = None  # None: by the recipe and the accelerator
    attest: Attest = attest_image
    switch_test_signing: SwitchTestSigning = switch_test_signing_on
    observer: Observer | None = None
    tell: Tell = quiet
    room: int = _ROOM
    #: Install anew, whatever was kept of a build whose first start failed, and in place of an image.
    fresh: bool = False


def evidence_folder(store: ImageStore, name: str) -> Path:
    """Where the last failed install of a recipe left what shows why."""
    return store.folder / "failed" / name


def install_image(
    recipe: Recipe,
    install: Install,
    medium: Path,
    *,
    session: Session,
    host: Host,
    store: ImageStore,
    request: InstallRequest | None = None,
    settings: InstallSettings | None = None,
) -> SealedImage:
    """The image of `recipe` from `medium`; installed now unless the same recipe and medium were before, or
    where `settings` want it fresh.

    Raises `MediaError` for a wrong medium before anything is made, `UsageError` for what is missing,
    `InstallFailedError` with evidence when the install does not come to its end, and `InfrastructureError`
    when what was installed does not answer or is not what the recipe promises.
    """
    request, settings = request or InstallRequest(), settings or InstallSettings()
    seen = look_at_medium(medium, recipe, install)
    plan = plan_install(recipe, install, seen, gather(recipe, request, store))
    settings.tell("digest of the medium")
    media_digest = adopted_digest(medium, store)
    drivers = plan.drivers.files if plan.drivers is not None else {}
    written = install_key(recipe, install)
    key = digest_of([written, media_digest, request.hibernation, drivers])
    maker = _Maker(plan, written, key, media_digest, session, host, store, settings)
    stored = store.ensure(recipe.name, key, maker.make, progress=settings.tell, anew=settings.fresh)
    return installed_image(recipe, stored)


@dataclass(frozen=True, slots=True)
class _Maker:
    plan: InstallPlan
    written: str  # the key of the recipe as it is written, without the drivers that were given
    key: str
    media_digest: str
    session: Session
    host: Host
    store: ImageStore
    settings: InstallSettings

    def make(self, into: Path) -> Mapping[str, Any]:
        """Fill the store's folder `into`; what this returns becomes the sidecar's facts."""
        recipe = self.plan.recipe
        kept = KeptInstall(self.store, recipe.name, self.key)
        if self.settings.fresh:
            kept.discard()
        facts = kept.find()
        if facts is None:
            kept.discard()
            facts = self._install(into)
            kept.put(into, facts)
        else:
            log.info("%s was installed before; it is started once more", recipe.name)
            self.settings.tell("going on with the disk that was installed before")
        found = self._asked(kept, facts)
        kept.take(into)
        version = f"{found.major}.{found.minor}.{found.build}"
        return {**facts, "version": version, "ubr": found.ubr, "product": found.product}

    def _install(self, into: Path) -> dict[str, Any]:
        files = InstallFiles(into)
        require_space(into, self.settings.room, f"installing {self.plan.recipe.name}")
        _prepare(self.plan, files, self.settings.tell)
        began = time.monotonic()
        progress = self._run(files)
        self.settings.tell("compacting the disk")
        _finish(files)
        return self._facts(progress, time.monotonic() - began)

    def _asked(self, kept: KeptInstall, facts: Mapping[str, Any]) -> Environment:
        """What the installed system says. Of one that says nothing the disk is kept."""
        recipe, settings = self.plan.recipe, self.settings
        image = installed_image(recipe, Stored(recipe.name, self.key, kept.folder, {}, facts))
        evidence = evidence_folder(self.store, recipe.name)
        given = (recipe, image, self.session, self.host, settings.accelerator, evidence)
        try:
            if self.plan.switches_test_signing_later:
                settings.tell("a start with Secure Boot off: switching test signing on")
                with kept.changing(facts):
                    settings.switch_test_signing(*given)
            settings.tell("first start: asking what was installed")
            return settings.attest(*given)
        except AnotherSystemError:
            kept.discard()
            raise
        except InfrastructureError as error:
            raise InfrastructureError(
                f"{error}. The installed disk is kept: the same command goes on from it, for example with "
                "more boot_seconds in a recipe of your own; with --fresh it is installed anew"
            ) from error

    def _run(self, files: InstallFiles) -> Progress:
        recipe, session, settings = self.plan.recipe, self.session, self.settings
        name = session.new_name("i")
        schedule = settings.schedule or schedule_of(self.plan.install, settings.accelerator)
        with ExitStack() as stack:
            reservation = Admission().memory(
                Appetite(recipe.hardware).whole, f"installing {recipe.name}", timeout=_ADMISSION_SECONDS
            )
            stack.callback(reservation.release)
            session.expect_machine(name)
            stack.callback(session.machine_gone, name)
            # In the session's folder as long as it runs: that is how its process is known.
            tpm = private_folder(session.disk_folder(name) / TPM)
            spec = install_machine(
                self.plan,
                files,
                name=name,
                folder=session.machine_folder(name),
                accelerator=settings.accelerator,
                tpm_state=tpm,
            )
            progress = run_install(
                self.host,
                spec,
                schedule,
                evidence=evidence_folder(self.store, recipe.name),
                version=recipe.version.triple,
                observer=settings.observer,
            )
            if spec.hardware.tpm:
                shutil.copytree(tpm, files.tpm)
        return progress

    def _facts(self, progress: Progress, seconds: float) -> dict[str, Any]:
        plan, facts = self.plan, self.plan.medium.facts
        return {
            KEEP: True,
            "recipe": plan.recipe.name,
            RECIPE_FACT: self.written,
            DRIVERS_FACT: list(plan.drivers.names) if plan.drivers is not None else [],
            "virtio_disc": str(plan.drivers or ""),
            "medium": {
                "sha256": self.media_digest,
                "label": facts.label if facts is not None else "",
                "image": str(plan.medium.image or ""),
            },
            "product_key": plan.product_key.value,
            "stages": list(progress.seen),
            "missed": list(progress.missed),
            "seconds": round(seconds),
            "accelerator": self.settings.accelerator.value,
            "certificate": digest_of(plan.files[CERTIFICATE]),
            "runner": digest_of(plan.files[RUNNER]),
        }


def _prepare(plan: InstallPlan, files: InstallFiles, tell: Tell) -> None:
    """Empty disks, and the discs setup reads."""
    tell("disks and discs")
    image = find_tool("qemu-img")
    sizes = (
        (files.system, plan.install.disk_gib << 10),
        (files.dumps, dump_disk_mib(plan.recipe.hardware.memory_mib)),
    )
    for path, mib in sizes:
        path.touch(mode=0o600)  # its owner's alone: it will hold passwords' hashes
        run([image, "create", "-q", "-f", "qcow2", str(path), f"{mib}M"])
    discs = plan.discs
    if discs.disc:
        make_disc(discs.disc, DISC_LABEL, files.disc)
    if discs.floppy:
        make_floppy(files.floppy, discs.floppy)
    if discs.medium:
        assert plan.medium.path is not None
        rebuild_disc(plan.medium.path, files.rebuilt, discs.medium)


def _finish(files: InstallFiles) -> None:
    """Compact the disk, and remove the discs: passwords are on them."""
    for disc in (files.disc, files.floppy, files.rebuilt):
        disc.unlink(missing_ok=True)
    for disk in (files.system, files.dumps):
        small = disk.with_suffix(".small")
        small.touch(mode=0o600)
        run([find_tool("qemu-img"), "convert", "-c", "-f", "qcow2", "-O", "qcow2", str(disk), str(small)])
        small.replace(disk)
