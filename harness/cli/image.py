"""`harness image`: recipes and the images made or adopted by them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import drill, image_adopt
from harness.cli.output import AsJson, print_json, print_table, short_path

if TYPE_CHECKING:
    from harness.image.recipe import Recipe

app = typer.Typer(
    help="Images that machines are made of: built, checked, adopted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="The recipe's name; `harness image list` shows all.")]
Recipes = Annotated[
    list[Path] | None,
    typer.Option(
        "--recipes",
        help="Further folder of recipes; repeatable. HARNESS_RECIPES names some too.",
        show_default=False,
    ),
]


@app.command("list")
def list_images(recipes: Recipes = None, as_json: AsJson = False) -> None:
    """List every recipe, and whether its image is there.

    Example: harness image list --recipes ~/machines
    """
    from harness.image.finding import find_recipes

    rows = [_row(recipe) for recipe in sorted(find_recipes(recipes or ()).values(), key=lambda r: r.name)]
    if as_json:
        print_json(rows)
    else:
        styles = {"ready": "green", "not built": "yellow", "yes": "green", "no": "yellow"}
        print_table(("name", "kind", "version", "arch", "state", "drilled", "title"), rows, styles=styles)


def _row(recipe: Recipe) -> dict[str, object]:
    from harness.drill import admission_of_recipe
    from harness.errors import HarnessError
    from harness.image.images import is_built
    from harness.image.recipe import Adopt

    adopted = isinstance(recipe.source, Adopt)
    try:
        state = "adopted" if adopted else "ready" if is_built(recipe) else "not built"
    except HarnessError as error:  # a recipe for another host is no reason to hide the rest
        state = f"not for this host: {error}"
    there = state in ("adopted", "ready")
    why_not = admission_of_recipe(recipe).reason if there else ""
    return {
        "name": recipe.name,
        "kind": recipe.kind.value,
        "version": recipe.version.triple,
        "arch": recipe.arch.value,
        "state": state,
        "drilled": "" if not there else "no" if why_not else "yes",
        "not_drilled": why_not,
        "title": recipe.title,
        "recipe": short_path(recipe.file),
        "channels": [access.kind.value for access in recipe.channels],
        "limits": dict(recipe.limits),
    }


@app.command("build")
def build(
    name: Name,
    media: Annotated[
        str | None, typer.Option(help="Install medium: an .iso, or a URL with --sha256.", show_default=False)
    ] = None,
    sha256: Annotated[str, typer.Option(help="What a medium from a URL must be.", show_default=False)] = "",
    product_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File of yours alone with a product key; most media need none.", show_default=False
        ),
    ] = None,
    openssh: Annotated[
        Path | None,
        typer.Option(help="Unpacked Win32-OpenSSH, for recipes with SSH.", show_default=False),
    ] = None,
    virtio_win: Annotated[
        Path | None,
        typer.Option(
            "--virtio-win", help="A virtio-win disc: its drivers are installed and used.", show_default=False
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Install anew, also where a disk was kept that did not answer.")
    ] = False,
    hibernation: Annotated[bool, typer.Option("--hibernation", help="Leave hibernation on.")] = False,
    drilled: Annotated[
        bool | None,
        typer.Option("--drill/--no-drill", help="Drill it then; default: after an install from --media."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only write what an install would use, and check it.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for --dry-run; default: NAME-dry-run here.", show_default=False),
    ] = None,
    recipes: Recipes = None,
    as_json: AsJson = False,
) -> None:
    """Build an image, from packages or from an install medium.

    Nothing is done where what it is made of has not changed. What was installed is drilled at once
    (`harness image drill`): plans admit an image only when its crash would be noticed.

    Example: harness image build stand-in

    Example: harness image build win11-24h2 --media Win11_24H2.iso

    Example: harness image build ws2022 --media server.iso --virtio-win virtio-win.iso

    Example: harness image build winxp-sp3 --dry-run --out /tmp/look
    """
    from harness.errors import UsageError
    from harness.image.finding import find_recipe
    from harness.image.images import ensure_image
    from harness.image.install.ingredients import InstallRequest

    if drilled and as_json:
        raise UsageError("--drill prints a report of its own; with --json call harness image drill after it")
    recipe = find_recipe(name, recipes or ())
    request = InstallRequest(product_key_file, openssh, hibernation, virtio_win)
    if dry_run:
        from harness.cli.image_install import dry_run_command

        dry_run_command(
            recipe, media=Path(media) if media else None, out=out, request=request, as_json=as_json
        )
        return
    if media is not None:
        from harness.cli.image_install import install_command

        install_command(recipe, media=media, sha256=sha256, request=request, fresh=fresh)
    from rich.console import Console

    with Console(stderr=True).status(f"{name}: looking") as status:
        image = ensure_image(recipe, progress=lambda line: status.update(f"{name}: {line}"))
    if as_json:
        print_json({"name": name, "digest": image.digest, "disks": [str(disk.path) for disk in image.disks]})
        return
    typer.echo(f"{name} is ready, {image.digest[:16]}")
    for disk in image.disks:
        typer.echo(f"  {short_path(disk.path)}")
    if drilled or (drilled is None and media is not None):
        drill.drill(name, recipes)


@app.command("screen")
def screen(
    name: Name,
    out: Annotated[
        Path | None, typer.Option(help="The picture; default: NAME.png here.", show_default=False)
    ] = None,
) -> None:
    """Take a picture of an image's screen while it is installed.

    And say how far it is.

    Example: harness image screen win11-24h2
    """
    from harness.image.install.window import look, take_screenshot
    from harness.image.store import ImageStore

    store = ImageStore()
    typer.echo(str(look(store, name)))
    typer.echo(f"  {short_path(take_screenshot(store, name, out or Path(f'{name}.png')))}")


@app.command("verify")
def verify(name: Name, recipes: Recipes = None, as_json: AsJson = False) -> None:
    """Compare an image's digests with those of the day it was made.

    Exit code 1 when a file was changed or is missing.

    Example: harness image verify stand-in
    """
    from rich.console import Console

    from harness.image.finding import find_recipe
    from harness.image.images import verify

    recipe = find_recipe(name, recipes or ())
    with Console(stderr=True).status(f"{name}: looking") as status:
        checks = verify(recipe, progress=lambda line: status.update(f"{name}: {line}"))
    if as_json:
        print_json(
            [{"what": check.what, "ok": check.ok, "problems": list(check.problems)} for check in checks]
        )
    else:
        for check in checks:
            typer.echo(f"{check.what}: {'as it should be' if check.ok else 'NOT as it should be'}")
            for problem in check.problems:
                typer.echo(f"  {problem}")
    if not all(check.ok for check in checks):
        typer.echo(f"remove the folder and build it again: harness image build {name}", err=True)
        raise typer.Exit(1)


app.command("adopt")(image_adopt.adopt)
app.command("drill")(drill.drill)
