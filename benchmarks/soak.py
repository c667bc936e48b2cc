"""`make soak`: two hundred reverts in a row, and fifty harnesses killed at random. Says what was seen.

Ends with exit code 1 when a clone did not answer, found something of the one before, or anything is left.

python benchmarks/soak.py [reverts] [kills]   default: both
HARNESS_REVERTS, HARNESS_KILLS: other numbers; HARNESS_SEED: the moments of another run's kills
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.progress import track

from harness.guests import Guests
from harness.machine.keep.processes import of_folders
from harness.machine.keep.session import Session
from harness.targets import parse_target
from tests.machine.station import kill_at_random, new_station
from tests.machine.tinyguest import build

STAND_IN = "vm:stand-in"
LEFT = r"C:\harness\left-behind.txt"
console = Console()


def number(name: str, usual: int) -> int:
    return int(os.environ.get(name, usual))


def reverts() -> bool:
    """Each clone of the stand-in must answer, and find nothing of the one before."""
    count, clean = number("HARNESS_REVERTS", 200), 0
    with Session.open() as session:
        folders = (session.folder, session.disk)
        with Guests() as guests:
            for _ in track(range(count), "reverts", console=console):
                with guests.boot(parse_target(STAND_IN)) as guest:
                    asked = guest.execute(["cmd.exe", "/c", f"if exist {LEFT} exit 7"])
                    guest.put(LEFT, b"left")
                    clean += asked.exit_code == 0
        processes = [process for process in of_folders(folders) if process.pid != session.guard.pid]
        files = [path for folder in folders for path in (folder / "m").iterdir()]
    session.close()
    files += [folder for folder in folders if folder.exists()]
    console.print(
        f"{clean} of {count} reverts gave a clean answer; left behind: {len(processes)} processes, "
        f"{len(files)} files"
    )
    return clean == count and not processes and not files


def kills() -> bool:
    """Processes that make templates and clones of the tests' tiny guest; half die with their guards."""
    count, seed = number("HARNESS_KILLS", 50), number("HARNESS_SEED", random.randrange(1 << 32))
    with tempfile.TemporaryDirectory(prefix="rf-soak-") as name:
        folder = Path(name)
        with new_station(build(folder), folder / "disk.raw") as station:
            killed = kill_at_random(station, count, seed)
            found = [*track(killed, "kills", total=count, console=console)]
    console.print(
        f"{len(found)} of {count} kills left nothing that cleaning does not find (seed {seed}); "
        f"{sum(1 for each in found if each)} times it had something to remove"
    )
    return len(found) == count


PARTS: dict[str, Callable[[], bool]] = {"reverts": reverts, "kills": kills}

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(PARTS)
    passed = [PARTS[name]() for name in chosen]
    sys.exit(not all(passed))
