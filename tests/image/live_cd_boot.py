"""Boot an adopted live CD in a process of its own and print, as JSON, what was found there.

    python -m tests.image.live_cd_boot RECIPES FOLDER

The CD carries the tiny guest (tests/machine/tinyguest), which answers on COM2 and reads sectors of the first
IDE disk: the payload.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness.image.finding import find_recipe
from harness.image.images import ensure_image
from harness.image.store import ImageStore
from harness.machine.hypervisor.host import Host
from tests.image.stand_in_boot import machine_spec
from tests.machine.tinyguest import TinyLine


def look(recipes: Path, folder: Path) -> dict[str, Any]:
    recipe = find_recipe("live", [recipes])
    image = ensure_image(recipe, store=ImageStore(folder / "images"))
    payload = image.disks[0].path
    before = payload.read_bytes()
    sector, rest = divmod(before.index(b"@echo off\r\nrem Starts"), 512)
    assert rest == 0
    spec = machine_spec(image, folder)
    with (
        Host.open(root=folder / "v") as host,
        host.start(spec),
        TinyLine(spec.channel_socket, timeout=recipe.boot_seconds) as line,
    ):
        found = {
            "sum": line.ask("add 5"),
            "command file": line.ask(f"read {sector:x}"),
            "written": line.ask(f"write {sector:x} changed"),
            "read again": line.ask(f"read {sector:x}"),
        }
    return {**found, "untouched": payload.read_bytes() == before, "boot_from_cd": image.boot_from_cd}


if __name__ == "__main__":
    print(json.dumps(look(Path(sys.argv[1]), Path(sys.argv[2]))))
