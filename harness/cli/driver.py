"""`harness driver`: build, sign, verify, and a first look at any driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.output import AsJson, print_json, print_table, short_path

if TYPE_CHECKING:
    from harness.driver import DriverSpec
    from harness.driver.spec import ImageSpec
    from harness.registry.version import WindowsVersion

app = typer.Typer(help="Build, sign and check drivers.", no_args_is_help=True, rich_markup_mode=None)

Sources = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Folders or C files of drivers; default: every driver of the checkout.", show_default=False
    ),
]
Archs = Annotated[
    list[str] | None,
    typer.Option("--arch", help="x64 or x86; repeatable; default: both.", show_default=False),
]


def _chosen(sources: list[Path] | None, archs: list[str] | None) -> Iterator[tuple[DriverSpec, str]]:
    from harness.driver import ARCHITECTURES, driver_spec, project_drivers
    from harness.driver.spec import check_arch

    specs = [driver_spec(source) for source in sources] if sources else list(project_drivers().values())
    wanted = [check_arch(arch) for arch in archs or ARCHITECTURES]
    for spec in specs:
        for arch in wanted:
            if arch in spec.architectures:
                yield spec, arch


@app.command("build")
def build(sources: Sources = None, arch: Archs = None, as_json: AsJson = False) -> None:
    """Build drivers, and without names the runner too.

    What has not changed is not built again.

    Example: harness driver build driver-src/samples/regguard --arch x64
    """
    from rich.console import Console

    from harness.driver import ARCHITECTURES, runner_spec
    from harness.driver.build import build_image

    chosen: list[tuple[ImageSpec, str]] = list(_chosen(sources, arch))
    if not sources:
        chosen += [(runner_spec(), architecture) for architecture in arch or ARCHITECTURES]
    console = Console(stderr=True)
    rows = []
    with console.status("building") as status:
        for spec, architecture in chosen:
            status.update(f"building {spec.name}, {architecture}")
            built = build_image(spec, architecture)
            rows.append(
                {
                    "driver": built.name,
                    "arch": built.arch,
                    "image": short_path(built.image),
                    "state": "built" if built.rebuilt else "up to date",
                    "compiler": built.toolchain,
                }
            )
    if as_json:
        print_json(rows)
    else:
        print_table(("driver", "arch", "state", "image"), rows)


@app.command("sign")
def sign(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Images to sign in place; default: every driver of the checkout.", show_default=False
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--for", help="The Windows that is to load it: 6.1; default: any from 8 on.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign images with the checkout's test certificate.

    It is made on first use. With page hashes and SHA-256, or with SHA-1 where --for names a Windows that
    checks nothing else: Vista, 7, Server 2008 R2. Products signed with SHA-1 are below build/cache/signed.

    Example: harness driver sign my.sys
    """
    from harness.registry.version import WindowsVersion

    version = None if system is None else WindowsVersion.parse(system)
    rows = [_sign_file(path, version) for path in images] if images else _sign_products(version)
    if as_json:
        print_json(rows)
    else:
        print_table(("image", "state"), rows)
        for certificate in dict.fromkeys(row["certificate"] for row in rows):
            typer.echo(f"test certificate (SHA-256): {certificate}")


def _sign_products(version: WindowsVersion | None) -> list[dict[str, str]]:
    from rich.console import Console

    from harness.driver import build_signed

    rows = []
    with Console(stderr=True).status("signing") as status:
        for spec, architecture in _chosen(None, None):
            status.update(f"signing {spec.name}, {architecture}")
            signed = build_signed(spec, architecture, version=version)
            rows.append(
                {
                    "image": short_path(signed.image),
                    "state": "signed" if signed.resigned else "was signed",
                    "certificate": signed.certificate.fingerprint,
                }
            )
    return rows


def _sign_file(path: Path, version: WindowsVersion | None) -> dict[str, str]:
    from harness.driver import SignatureDigest, sign_image, signing_certificate
    from harness.driver.build import build_directory, write_atomically
    from harness.errors import UsageError

    digest = SignatureDigest.SHA256 if version is None else SignatureDigest.for_version(version)
    certificate = signing_certificate(build_directory() / "keys", digest)
    try:
        write_atomically(path, sign_image(path.read_bytes(), certificate))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    return {"image": str(path), "state": "signed", "certificate": certificate.fingerprint}


@app.command("verify")
def verify(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Images to check; default: the built probe.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check signature, certificate and what else an image should have.

    Exit code 1 when a check fails.

    Example: harness driver verify my.sys --json
    """
    from harness.driver import ARCHITECTURES, verify_image
    from harness.driver.build import build_directory

    paths = images or [build_directory() / arch / "regprobe.sys" for arch in ARCHITECTURES]
    reports = [verify_image(path) for path in paths]
    if as_json:
        print_json([{**asdict(report), "ok": report.ok} for report in reports])
    else:
        for report in reports:
            verdict = "as it should be" if report.ok else "NOT as it should be"
            typer.echo(f"{short_path(Path(report.path))}: {verdict}")
            rows = [
                {"check": f"  {check.name}", "state": "ok" if check.ok else "wrong", "found": check.why}
                for check in report.checks
            ]
            print_table(("check", "state", "found"), rows, styles={"ok": "green", "wrong": "bold red"})
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


@app.command("try")
def try_driver(
    file: Annotated[Path, typer.Argument(help="A WDM registry filter, signed or not.")],
    target: Annotated[
        str | None,
        typer.Option(
            "--target", "-t", help="reference:VERSION; default: the newest of the driver's architecture."
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE below the service's Parameters key; repeatable.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a first look at any driver, without Windows.

    It is loaded, the registry is used, it is unloaded. Shows DriverEntry's status, devices, filters with
    altitudes, what the driver changed, blocked or did itself in a short registry workload, its debug output,
    and how it unloads. Imports that are not modelled are listed all at once. Exit code 1 when it was refused
    or crashed the guest.

    Example: harness driver try my.sys --target reference:6.1
    """
    from harness.between import parse_parameters
    from harness.cli.firstlook import print_look
    from harness.firstlook import default_target, first_look
    from harness.targets import parse_target

    chosen = default_target(file) if target is None else parse_target(target)
    look = first_look(file, chosen, parameters=parse_parameters(parameter or ()))
    if as_json:
        print_json({**asdict(look), "ok": look.ok})
    else:
        print_look(look)
    if not look.ok:
        raise typer.Exit(1)
