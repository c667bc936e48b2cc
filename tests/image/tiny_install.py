"""Install from a medium in a process of its own and print, as JSON, what came of it.

    python -m tests.image.tiny_install RECIPES MEDIUM CACHE RUNTIME [OPTION=SECONDS | STAGE=SECONDS ...]

A virtio-win.iso beside the medium is used. libvirt's embedded driver is one per process, and one of the tests
kills this one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.channel.base import ChannelKind
from harness.channel.environment import Environment, ProductType
from harness.channel.opening import open_channel
from harness.errors import HarnessError
from harness.guest.base import Arch
from harness.image.finding import find_recipe
from harness.image.install.attestation import attest_image
from harness.image.install.builder import InstallSettings, install_image
from harness.image.install.ingredients import InstallRequest
from harness.image.install.run import InstallFailedError
from harness.image.install.stages import Progress, Schedule
from harness.image.install.testsigning import switch_test_signing_on
from harness.image.install.window import Window
from harness.image.installspec import Install
from harness.image.recipe import Recipe
from harness.image.store import ImageStore
from harness.machine.describe.axes import Axis
from harness.machine.describe.spec import Accelerator, SealedImage
from harness.machine.drive import Machines, MachineSettings, WayIn
from harness.machine.guest import Identity
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.inside.attest import Promise
from harness.machine.inside.axes import SwitchedOn, image_with
from harness.machine.keep.places import Places
from harness.machine.keep.processes import of_folders
from harness.machine.keep.session import Session


@dataclass(frozen=True)
class Limits(Schedule):
    """A stage that `stages` names has its own limit: how long the others take is the host's affair."""

    stages: Mapping[str, float] = field(default_factory=dict)

    def limit(self, stage: str) -> float:
        return self.stages.get(stage, Schedule.limit(self, stage))


def environment() -> Environment:
    """What its runner would say, for installs that are not about that."""
    unknown: dict[str, Any] = dict.fromkeys(Environment.__dataclass_fields__)
    known = {
        "major": 6,
        "minor": 1,
        "build": 7601,
        "ubr": 24214,
        "service_pack": 1,
        "product_type": ProductType.WORKSTATION,
        "product": "Tiny",
        "arch": Arch.X86,
        "processors": 1,
        "unix_us": 0,
        "uptime_ms": 0,
    }
    return Environment(**{**unknown, **known})


def cloned(recipe: Recipe, image: SealedImage, places: Places, axes: tuple[Axis, ...]) -> list[str]:
    """What two guests of the image's template are: both are frozen copies of one boot."""
    on = SwitchedOn(axes)
    image = image_with(image, on)
    promise = Promise.of(recipe.kind, recipe.version, recipe.arch, image.hardware)
    serial = WayIn(
        ChannelKind.SERIAL,
        lambda machine, timeout: open_channel(machine.spec.channel_socket, timeout=timeout),
    )
    found = []
    identity = Identity(f"vm:{image.name}", promise, on=on)
    with Machines(MachineSettings(places=places, accelerator=Accelerator.TCG)) as machines:
        for _ in range(2):
            with machines.guest(image, identity, [serial]) as guest:
                found.append(f"{guest.info.version.triple} {guest.environment.boot_id}")
    return found


def main(
    recipes: Path, medium: Path, cache: Path, runtime: Path, options: dict[str, float]
) -> dict[str, Any]:
    recipe = find_recipe("tiny", [recipes])
    assert isinstance(recipe.source, Install)
    asked: list[str] = []
    switched: list[str] = []
    seen: list[str] = []

    def attest(
        recipe: Recipe, image: SealedImage, session: Session, host: Host, how: Accelerator, evidence: Path
    ) -> Environment:
        asked.append(image.disks[0].path.name)
        if "switch" not in options:
            return environment()
        # As for an install with Secure Boot on, which no runner of the tests lives through.
        switch_test_signing_on(recipe, image, session, host, how, evidence)
        return attest_image(recipe, image, session, host, how, evidence)

    def switch(
        recipe: Recipe, image: SealedImage, session: Session, host: Host, how: Accelerator, evidence: Path
    ) -> None:
        switched.append(f"{image.disks[0].path.name} on {image.hardware.firmware}")

    store = ImageStore(cache / "images")
    virtio = medium.with_name("virtio-win.iso")
    window = Window(store, "tiny", expected=60)

    def observe(progress: Progress, machine: Machine) -> None:
        window(progress, machine)
        if progress.stage not in seen:
            seen.append(progress.stage)
            print(f"stage {progress.stage}", file=sys.stderr, flush=True)

    settings = InstallSettings(
        accelerator=Accelerator.TCG,
        schedule=Limits(
            expected=60,
            first=options.get("first", 600),
            long=options.get("long", 600),
            short=options.get("short", 600),
            prompt=options.get("prompt", 300),
            stages=options,
        ),
        attest=attest_image if "ask" in options else attest,
        switch_test_signing=switch,
        observer=observe,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
        room=1 << 30,
        fresh="fresh" in options,
    )
    result: dict[str, Any] = {}
    began = time.monotonic()
    places = Places(cache=cache, runtime=runtime, memory=None)
    with Session.open(places) as session:
        with Host.open(root=session.libvirt_root) as host, window:
            try:
                image = install_image(
                    recipe,
                    recipe.source,
                    medium,
                    session=session,
                    host=host,
                    store=store,
                    request=InstallRequest(virtio_win=virtio if virtio.exists() else None),
                    settings=settings,
                )
                result["disk_bus"] = image.hardware.disk_bus
                result["disks"] = [str(disk.path) for disk in image.disks]
                result["digest"] = image.digest
                if "clone" in options:
                    result["clones"] = cloned(
                        recipe, image, places, (Axis.HIBERNATE,) if "hibernate" in options else ()
                    )
            except InstallFailedError as error:
                result["outcome"] = error.progress.outcome
                result["evidence"] = str(error.evidence)
                result["error"] = str(error)
            except HarnessError as error:
                result["error"] = str(error)
        result["left"] = [str(process) for process in of_folders((session.folder, session.disk))]
    result["facts"] = [dict(one.facts) for one in store.named("tiny")]
    return {**result, "asked": asked, "switched": switched, "seen": seen, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    given = dict(part.split("=") for part in sys.argv[5:])
    options = {key: float(value) for key, value in given.items()}
    recipes, medium, cache, runtime = map(Path, sys.argv[1:5])
    print(json.dumps(main(recipes, medium, cache, runtime, options)))
