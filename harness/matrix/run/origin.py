"""What the results of a run depend on besides the frozen plan: digests of its files and images.

A run that goes on later has to be the same run: where anything of this changed, its first and its second half
would be results of different things.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.image.digest import recipe_digest
from harness.image.images import ensure_image, is_built
from harness.image.recipe import load_recipe
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import Plan
from harness.matrix.run.folder import write_whole
from harness.targets import parse_target

__all__ = ["Origin", "changes", "origin_of", "read_origin", "write_origin"]

#: Digest by what it is of: "plan night.toml", "driver my.sys", "image vm:stand-in", "test test_b.py".
Origin = Mapping[str, str]

_FILE: Final = "origin.json"
_ABSENT: Final = "(not there)"
_LARGEST: Final = 64 << 20


def origin_of(plan: Plan, jobs: Iterable[Job]) -> Origin:
    """The digests as they are now. A file that is gone has none, which is a change as well."""
    found = list(jobs)
    files = {f"plan {plan.file}": plan.file}
    if plan.known_issues is not None:
        files[f"known issues {plan.known_issues}"] = plan.known_issues
    files |= {f"driver {job.driver}": Path(job.driver) for job in found if job.driver}
    paths = dict.fromkeys(path for job in found for path in job.paths)
    files |= {f"test {path}": plan.root / path for path in paths}
    files |= {f"test {file.relative_to(plan.root)}": file for file in _conftests(plan.root, paths)}
    digests = {what: _digest(file) for what, file in files.items()}
    machines = dict.fromkeys(job.target for job in found if job.is_machine)
    return digests | {f"image {name}": _image(name, plan.recipes) for name in machines}


def changes(before: Origin, now: Origin) -> tuple[str, ...]:
    """What is not as it was, in words; empty where a run may go on."""
    found = []
    for what in sorted(before.keys() | now.keys()):
        old, new = before.get(what, _ABSENT), now.get(what, _ABSENT)
        if old != new:
            found.append(f"{what}: was {old[:16]}, is {new[:16]}")
    return tuple(found)


def write_origin(folder: Path, origin: Origin) -> None:
    write_whole(folder / _FILE, json.dumps(dict(origin), indent=1) + "\n")


def read_origin(folder: Path) -> Origin:
    """What `write_origin` wrote. Raises `UsageError` for anything else."""
    file = folder / _FILE
    try:
        with file.open("rb") as content:
            raw = json.loads(content.read(_LARGEST))
        return {str(what): str(digest) for what, digest in raw.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{file} can't be read: {error}; start a new run") from error


def _conftests(root: Path, paths: Iterable[str]) -> Iterator[Path]:
    folders = {folder for path in paths for folder in (root / path).parents if folder.is_relative_to(root)}
    return (file for folder in sorted(folders) if (file := folder / "conftest.py").is_file())


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return _ABSENT


def _image(target: str, recipes: Iterable[Path]) -> str:
    """Of the image itself where there is one: built again from its recipe it is another."""
    found = parse_target(target, recipes).recipe
    assert found is not None
    recipe = load_recipe(found)
    return ensure_image(recipe).digest if is_built(recipe) else f"recipe {recipe_digest(recipe)}"
