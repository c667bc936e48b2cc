"""`harness image build` for recipes that install from a medium: the dry run and the install."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.cli.output import print_json, short_path

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from harness.image.install.dryrun import DryRun
    from harness.image.install.ingredients import InstallRequest
    from harness.image.install.stages import Progress
    from harness.image.recipe import Recipe
    from harness.image.store import ImageStore
    from harness.machine.hypervisor.machine import Machine

__all__ = ["dry_run_command", "install_command"]


def dry_run_command(
    recipe: Recipe, *, media: Path | None, out: Path | None, request: InstallRequest, as_json: bool
) -> None:
    """Write and validate everything an install would use; exit code 1 when something is wrong with it."""
    from harness.errors import UsageError
    from harness.image.install.dryrun import dry_run
    from harness.image.installspec import Install

    if not isinstance(recipe.source, Install):
        raise UsageError(
            f"{recipe.name} is not installed from a medium: there is nothing to try without doing it"
        )
    result = dry_run(
        recipe, recipe.source, out or Path(f"{recipe.name}-dry-run"), medium=media, request=request
    )
    if as_json:
        print_json(
            {
                "name": recipe.name,
                "ok": result.ok,
                "folder": str(result.folder),
                "files": list(result.files),
                "assumed": list(result.assumed),
                "checks": [{"what": check.what, "problems": list(check.problems)} for check in result.checks],
            }
        )
    else:
        _tell(result)
    if not result.ok:
        raise typer.Exit(1)


def _tell(result: DryRun) -> None:
    typer.echo(f"written to {short_path(result.folder)}: {', '.join(result.files)}")
    for check in result.checks:
        typer.echo(f"{'sound' if check.ok else 'WRONG'}  {check.what}")
        for problem in check.problems:
            typer.echo(f"       {problem}")
    for line in result.assumed:
        typer.echo(f"assumed: {line}")


def install_command(
    recipe: Recipe,
    *,
    media: str,
    sha256: str,
    request: InstallRequest,
    fresh: bool = False,
) -> None:
    """Install from `media`, a path or a URL with its hash, and show how it goes."""
    from harness.errors import UsageError
    from harness.image.install.builder import InstallSettings, install_image
    from harness.image.install.medium import look_at_medium
    from harness.image.install.stages import schedule_of
    from harness.image.install.window import Window
    from harness.image.installspec import Install
    from harness.image.store import ImageStore
    from harness.machine.describe.spec import Accelerator
    from harness.machine.hypervisor.accelerator import choose_accelerator
    from harness.machine.hypervisor.host import Host
    from harness.machine.keep.session import Session

    install = recipe.source
    if not isinstance(install, Install):
        raise UsageError(f"{recipe.name} is not installed from a medium; leave --media out")
    place = ImageStore()
    with _bar() as bar:
        medium = _medium(media, sha256, place, bar)
        bar.console.print(f"medium: {look_at_medium(medium, recipe, install)}")
        with Session.open() as session, Host.open(root=session.libvirt_root) as host:
            accelerator = choose_accelerator(session.places.cache)
            schedule = schedule_of(install, accelerator)
            if accelerator is not Accelerator.KVM:
                bar.console.print(
                    f"no KVM here: every instruction is emulated, and this takes some "
                    f"{schedule.expected / 3600:.0f} hours; some versions were reported to hang that way"
                )
            bar.console.print(f"what its screen shows: harness image screen {recipe.name}")
            with Window(place, recipe.name, schedule.expected) as window:
                shown = _Shown(bar, schedule.expected)

                def observe(progress: Progress, machine: Machine) -> None:
                    window(progress, machine)
                    shown(progress)

                settings = InstallSettings(
                    accelerator=accelerator, observer=observe, tell=shown.say, fresh=fresh
                )
                install_image(
                    recipe,
                    install,
                    medium,
                    session=session,
                    host=host,
                    store=place,
                    request=request,
                    settings=settings,
                )


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )


class _Shown:
    """The bar, and a line for each stage that stays."""

    def __init__(self, bar: Bar, expected: float) -> None:
        self._bar = bar
        self._task = bar.add_task("preparing", total=expected, note=f"of about {expected / 60:.0f} min")
        self._stage = ""
        self._failed: tuple[str, ...] = ()

    def say(self, line: str) -> None:
        self._bar.update(self._task, description=line)

    def __call__(self, progress: Progress) -> None:
        import time

        elapsed = time.monotonic() - progress.began
        self._bar.update(self._task, description=progress.stage, completed=elapsed)
        if progress.stage != self._stage:
            self._stage = progress.stage
            self._bar.console.print(f"{elapsed / 60:5.1f} min  {progress.stage}")
        for step in progress.failed[len(self._failed) :]:
            self._bar.console.print(f"{elapsed / 60:5.1f} min  did not work: {step}")
        self._failed = progress.failed


def _medium(media: str, sha256: str, store: ImageStore, bar: Bar) -> Path:
    from harness.errors import UsageError
    from harness.image.install.download import fetch_medium, is_url
    from harness.machine.disk.seal import file_digest

    if not is_url(media):
        path = Path(media).expanduser()
        if sha256:
            from harness.channel.access import normal_sha256

            if not path.is_file():
                raise UsageError(f"{path}: there is no such file")
            if (found := file_digest(path)) != normal_sha256(sha256):
                raise UsageError(f"{path} is not what was wanted: its SHA-256 is {found}")
        return path
    task = bar.add_task("downloading", total=None, note="")
    medium = fetch_medium(
        media,
        sha256,
        store,
        received=lambda got, size: bar.update(
            task, completed=got, total=size or None, note=f"{got >> 20} MiB"
        ),
    )
    bar.remove_task(task)
    return medium
