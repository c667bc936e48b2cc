"""`harness image adopt`: what is said of a machine on the command line, as a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.output import short_path
from harness.guest.base import Arch, GuestKind
from harness.machine.describe.spec import ChannelPort, DiskBus, DiskFormat, Firmware, Nic, PanicModel

if TYPE_CHECKING:
    from harness.image.recipe import Access, Payload
    from harness.machine.describe.spec import Hardware

__all__ = ["adopt"]


def adopt(
    name: Annotated[
        str, typer.Argument(help="What the machine is to be called: small letters, digits, dashes.")
    ],
    kind: Annotated[GuestKind, typer.Option(help="What it is: windows, reactos or stand-in.")],
    version: Annotated[str, typer.Option(help="Its version: 10.0.26100, 5.2.3790.", show_default=False)],
    recipes: Annotated[
        Path | None,
        typer.Option(
            "--recipes", help="Folder the recipe is written to; default: vm-images here.", show_default=False
        ),
    ] = None,
    disk: Annotated[
        Path | None, typer.Option(help="An installed disk: qcow2, raw, vhdx.", show_default=False)
    ] = None,
    cd: Annotated[Path | None, typer.Option(help="A live CD.", show_default=False)] = None,
    disk_format: Annotated[
        DiskFormat | None,
        typer.Option("--format", help="The disk's format; found out by default.", show_default=False),
    ] = None,
    arch: Annotated[Arch, typer.Option(help="Of its Windows.")] = Arch.X64,
    title: Annotated[str, typer.Option(help="One line about it.", show_default=False)] = "",
    machine: Annotated[
        str | None, typer.Option(help="QEMU machine type: q35, pc.", show_default=False)
    ] = None,
    cpu: Annotated[
        str | None, typer.Option(help="QEMU CPU model: Nehalem, pentium3.", show_default=False)
    ] = None,
    processors: Annotated[int | None, typer.Option(help="Virtual processors.", show_default=False)] = None,
    memory: Annotated[int | None, typer.Option(help="MiB.", show_default=False)] = None,
    bus: Annotated[DiskBus | None, typer.Option(help="Disk bus.", show_default=False)] = None,
    nic: Annotated[Nic | None, typer.Option(help="Network card.", show_default=False)] = None,
    firmware: Annotated[Firmware | None, typer.Option(help="BIOS or UEFI.", show_default=False)] = None,
    firmware_variables: Annotated[
        Path | None,
        typer.Option(help="Its UEFI variables (OVMF_VARS); default: fresh ones.", show_default=False),
    ] = None,
    tpm: Annotated[bool, typer.Option("--tpm", help="It has a TPM 2.0.")] = False,
    hyperv: Annotated[
        bool, typer.Option("--hyperv", help="Hyper-V enlightenments, from Windows 7 on.")
    ] = False,
    channel: Annotated[
        ChannelPort | None, typer.Option(help="The port the runner listens on.", show_default=False)
    ] = None,
    debug_com: Annotated[
        int | None, typer.Option(help="COM port of its kernel debugger; 0: none.", show_default=False)
    ] = None,
    panic: Annotated[
        list[PanicModel] | None, typer.Option(help="Panic device; repeatable.", show_default=False)
    ] = None,
    ssh: Annotated[
        str | None,
        typer.Option(help="Also SSH, as this user; with --key and --host-key.", show_default=False),
    ] = None,
    winrm: Annotated[
        str | None,
        typer.Option(help="Also WinRM, as this user; with --password-file.", show_default=False),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(help="Password for WinRM or SSH, readable by you alone.", show_default=False),
    ] = None,
    certificate: Annotated[
        str, typer.Option(help="SHA-256 of WinRM's certificate: HTTPS with it alone.", show_default=False)
    ] = "",
    key: Annotated[
        Path | None, typer.Option(help="Private key for SSH, readable by you alone.", show_default=False)
    ] = None,
    host_key: Annotated[
        str, typer.Option(help="The server's key: ssh-ed25519 AAAA..., or SHA256:...", show_default=False)
    ] = "",
    payload: Annotated[bool, typer.Option(help="Attach a FAT disk with runner and drivers.")] = True,
    payload_folder: Annotated[str, typer.Option(help="DOS folder on it.")] = "\\rt",
    command_file: Annotated[
        str, typer.Option(help="The file in it that the guest runs at boot.")
    ] = "start.cmd",
    driver: Annotated[
        list[Path] | None, typer.Option(help="A driver to carry along; repeatable.", show_default=False)
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(help="CAPABILITY=WHY: what it lacks; repeatable.", show_default=False),
    ] = None,
    replace_it: Annotated[bool, typer.Option("--replace", help="Overwrite a recipe of that name.")] = False,
) -> None:
    """Write a recipe for a disk or a live CD that you have.

    Neither is ever written.

    Example: harness image adopt win11 --disk win11.qcow2 --kind windows --version 10.0.26100 --machine q35
    --cpu Skylake-Client --memory 4096 --channel virtio

    Example: harness image adopt ws2022 --disk ws2022.vhdx --kind windows --version 10.0.20348 --firmware uefi
    --winrm harness --password-file ~/secrets/ws2022

    Example: harness image adopt ros --cd live.iso --kind reactos --version 5.2.3790 --arch x86
    """
    from harness.errors import UsageError
    from harness.image.adopt import Adoption, detect_format, usual_limits
    from harness.image.adopt import adopt as write_recipe
    from harness.image.images import ensure_image
    from harness.image.payload import how_it_starts
    from harness.image.recipe import Access, AccessKind, Adopt

    if disk is None and cd is None:
        raise UsageError("name what to adopt: --disk FILE or --cd FILE")
    chosen = {
        "machine": machine,
        "cpu": cpu,
        "processors": processors,
        "memory_mib": memory,
        "disk_bus": bus,
        "nic": nic or (Nic.E1000 if ssh or winrm else None),
        "firmware": firmware,
        "channel": channel,
        "debug_com": debug_com,
        "panic": tuple(panic) if panic else None,
        "tpm": tpm or None,
        "hyperv": hyperv or None,
    }
    adoption = Adoption(
        name=name,
        kind=kind,
        version=version,
        arch=arch,
        title=title,
        hardware=_hardware(kind, arch, {key: value for key, value in chosen.items() if value is not None}),
        source=Adopt(
            disk=disk,
            format=disk_format or (detect_format(disk) if disk else DiskFormat.QCOW2),
            firmware_variables=firmware_variables,
            cd=cd,
            payload=_payload(payload_folder, command_file, driver or []) if payload else None,
        ),
        channels=(
            Access(AccessKind.SERIAL),
            *_ssh(ssh, key, password_file if key is None else None, host_key),
            *_winrm(winrm, password_file, certificate),
        ),
        limits={**usual_limits(kind), **_limits(limit or [])},
    )
    recipe = write_recipe(adoption, recipes or Path("vm-images"), replace=replace_it)
    image = ensure_image(recipe)
    typer.echo(f"wrote {short_path(recipe.file)}")
    if payload:
        typer.echo(f"payload disk: {short_path(image.disks[-1].path)}")
    assert isinstance(recipe.source, Adopt)
    typer.echo(how_it_starts(recipe.source))
    folder = f" --recipes {short_path(recipe.file.parents[1])}" if recipes is not None else ""
    typer.echo(f"run tests on it: harness run --target vm:{recipe.name}{folder}")


def _hardware(kind: GuestKind, arch: Arch, chosen: dict[str, object]) -> Hardware:
    from harness.image.adopt import usual_hardware

    emulator = "i686" if arch is Arch.X86 else "x86_64"
    return replace(usual_hardware(kind), arch=emulator, **chosen)  # type: ignore[arg-type]


def _payload(folder: str, command_file: str, drivers: list[Path]) -> Payload:
    from harness.image.recipe import Payload

    return Payload(folder=folder, command_file=command_file, drivers=tuple(drivers))


def _ssh(user: str | None, key: Path | None, password: Path | None, host_key: str) -> tuple[Access, ...]:
    from harness.image.recipe import Access, AccessKind

    if user is None:
        return ()
    return (Access(AccessKind.SSH, user=user, key_file=key, password_file=password, host_key=host_key),)


def _winrm(user: str | None, password: Path | None, certificate: str) -> tuple[Access, ...]:
    from harness.image.recipe import Access, AccessKind

    if user is None:
        return ()
    return (Access(AccessKind.WINRM, user=user, password_file=password, certificate=certificate),)


def _limits(given: list[str]) -> dict[str, str]:
    from harness.errors import UsageError

    found = {}
    for text in given:
        capability, equals, why = text.partition("=")
        if not equals:
            raise UsageError(f"--limit {text}: write it like app-hives='this system has none'")
        found[capability] = why
    return found
