"""Drill the stand-in in a process of its own and print the report as JSON: libvirt allows one host a process.

python -m tests.drill.stand_in_drill FOLDER
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from harness.drill import run_drills
from harness.guests import Guests
from harness.targets import parse_target


def main(evidence: Path) -> None:
    target = parse_target("vm:stand-in")
    with Guests() as guests:
        report = run_drills(target, lambda: guests.boot(target), keep=evidence)
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
