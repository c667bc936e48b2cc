"""`harness guest`: a machine by hand. One command holds it, others use it; or a fresh one for one command."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.output import short_path
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.machine.desk import Desk
    from harness.machine.guest import MachineGuest

app = typer.Typer(
    help="Machines by hand: commands, files, a screenshot, debuggers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

TargetName = Annotated[str, typer.Argument(metavar="TARGET", help="A machine, e.g. vm:stand-in.")]
Recipes = Annotated[
    list[Path] | None,
    typer.Option("--recipes", help="A further folder of recipes; repeatable.", show_default=False),
]
Timeout = Annotated[float, typer.Option(help="Seconds the command may take.", min=0.1)]


@app.callback()
def group() -> None:
    """Machines by hand: commands, files, a screenshot, debuggers."""
    # What the harness says of itself; libraries log what belongs to nobody here.
    log = logging.getLogger("harness")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler(sys.stderr))
    logging.getLogger().addHandler(logging.NullHandler())


@contextmanager
def _booted(target: str, recipes: list[Path] | None) -> Iterator[MachineGuest]:
    """A fresh clone, for as long as the block."""
    from rich.console import Console

    from harness.guests import Guests
    from harness.machine.guest import MachineGuest
    from harness.targets import parse_target

    chosen = parse_target(target, recipes or ())
    if chosen.recipe is None:
        raise UsageError(f"{target} is no machine; `harness guest` takes vm:NAME (`harness target list`)")
    with Guests() as guests:
        with Console(stderr=True).status(f"starting {target} (its template is made the first time)"):
            guest = guests.boot(chosen)
        with guest:
            assert isinstance(guest, MachineGuest)
            yield guest


@contextmanager
def _desk(target: str, recipes: list[Path] | None, *, held_only: str = "") -> Iterator[Desk]:
    """The machine that is held under that name, else a fresh one that ends with the command."""
    from harness.machine.desk import LocalDesk, attach

    if (held := attach(target)) is not None:
        yield held
        return
    if held_only:
        raise UsageError(f"{held_only}; hold one first, in another terminal: harness guest start {target}")
    with _booted(target, recipes) as guest:
        yield LocalDesk(guest)


def refuse_held(target: str) -> None:
    """Before a machine is booted in vain: a target has one holder."""
    from harness.machine.desk import attach

    if attach(target) is not None:
        raise UsageError(f"{target} is held already; end it with: harness guest stop {target}")


@app.command("start")
def start(target: TargetName, recipes: Recipes = None) -> None:
    """Start a machine and hold it until Ctrl-C.

    Or until `harness guest stop` ends it. The other commands use it meanwhile, from other terminals.

    Example: harness guest start vm:stand-in
    """
    from harness.machine.desk import hold

    refuse_held(target)
    with _booted(target, recipes) as guest, hold(guest, target) as stop:
        typer.echo(
            f"{target} runs; use it: harness guest shell {target}   end it: harness guest stop {target}"
        )
        _wait(stop)


def _wait(stop: object) -> None:
    from threading import Event

    assert isinstance(stop, Event)
    try:
        stop.wait()
    except KeyboardInterrupt:
        typer.echo("ending it", err=True)


@app.command("stop")
def stop(target: TargetName) -> None:
    """End the machine that `harness guest start` holds.

    Example: harness guest stop vm:stand-in
    """
    from harness.machine.desk import attach

    held = attach(target)
    if held is None:
        raise UsageError(f"nobody holds {target}; harness guest start {target} does")
    held.stop()


def _program(command: list[str]) -> list[str]:
    """What follows the target is the guest's, options included."""
    if command and command[0].startswith("-"):
        raise typer.BadParameter(
            f"options of this command come before the target, {command[0]} came after it"
        )
    return command


@app.command("exec", context_settings={"allow_interspersed_args": False})
def execute(
    target: TargetName,
    command: Annotated[list[str], typer.Argument(help="Program and arguments.", callback=_program)],
    recipes: Recipes = None,
    timeout: Timeout = 60.0,
) -> None:
    """Run a program in the guest, and end as it ends.

    Its output and exit code are this command's. Without a held machine it runs on a fresh one, which is
    thrown away afterwards.

    Example: harness guest exec vm:stand-in cmd.exe /c ver

    Example: harness guest exec --timeout 600 vm:stand-in cmd.exe /c dir /s
    """
    with _desk(target, recipes) as desk:
        done = desk.execute(command, timeout)
    sys.stdout.buffer.write(done.stdout)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(done.stderr)
    sys.stderr.buffer.flush()
    raise typer.Exit(done.exit_code & 0xFF or bool(done.exit_code))


@app.command("shell")
def shell(target: TargetName, recipes: Recipes = None, timeout: Timeout = 600.0) -> None:
    """A prompt of the guest's cmd.exe.

    Line by line; `exit` or Ctrl-D ends it. Without a held machine it is a fresh one, thrown away at the end,
    and held until then for other terminals.

    Example: harness guest shell vm:stand-in
    """
    from contextlib import ExitStack

    from harness.cli.shell import run_shell
    from harness.machine.desk import LocalDesk, attach, hold

    with ExitStack() as stack:
        desk: Desk | None = attach(target)
        if desk is None:
            guest = stack.enter_context(_booted(target, recipes))
            stack.enter_context(hold(guest, target))
            desk = LocalDesk(guest)
        run_shell(desk, timeout=timeout)


@app.command("put")
def put(
    target: TargetName,
    source: Annotated[
        Path, typer.Argument(help="File of this host; with --disc a folder as well.", exists=True)
    ],
    path: Annotated[
        str,
        typer.Argument(help="DOS path in the guest; without one it stays on the disc.", show_default=False),
    ] = "",
    disc: Annotated[
        bool | None,
        typer.Option(
            "--disc/--no-disc",
            help="Bring it on a disc in the guest's CD drive, or don't; default: where that is faster.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Copy a file into a held machine.

    With --disc it comes on a read-only CD that is put into the running guest: no network is needed, and large
    files don't wait for a slow port. Without PATH it stays there; this prints where.

    Example: harness guest put vm:stand-in my.sys 'C:\\harness\\my.sys'

    Example: harness guest put --disc vm:stand-in build/x64
    """
    if not path and not disc:
        raise UsageError("where to in the guest? Give a path; only with --disc it may stay on the disc")
    if path and source.is_dir():
        raise UsageError(f"{source} is a folder; it stays on the disc, so leave out {path}")
    with _desk(target, None, held_only="a file put into a machine that is thrown away is lost") as desk:
        if path:
            desk.put(path, str(source.absolute()), disc)
        else:
            typer.echo(desk.put_disc(_below(source.absolute())))


def _below(source: Path) -> dict[str, str]:
    """Files of the host by the name they get on a disc: one, or all of a folder."""
    if source.is_file():
        return {source.name: str(source)}
    files = {
        path.relative_to(source).as_posix(): str(path) for path in sorted(source.rglob("*")) if path.is_file()
    }
    if not files:
        raise UsageError(f"{source} has no files to put on a disc")
    return files


@app.command("get")
def get(
    target: TargetName,
    path: Annotated[str, typer.Argument(help="DOS path in the guest.")],
    destination: Annotated[Path, typer.Argument(help="File of this host; - is standard output.")],
    recipes: Recipes = None,
) -> None:
    """Copy a file out of the guest.

    Of the held machine, else as it is on a fresh one.

    Example: harness guest get vm:stand-in 'C:\\windows\\win.ini' -
    """
    with _desk(target, recipes) as desk:
        data = desk.get(path)
    if str(destination) == "-":
        sys.stdout.buffer.write(data)
    else:
        destination.write_bytes(data)
        typer.echo(f"{short_path(destination)}: {len(data)} bytes", err=True)


@app.command("screenshot")
def screenshot(
    target: TargetName,
    destination: Annotated[Path, typer.Argument(help="PNG file to write.")],
    recipes: Recipes = None,
) -> None:
    """Write what the guest's screen shows.

    Example: harness guest screenshot vm:stand-in screen.png
    """
    with _desk(target, recipes) as desk:
        destination.write_bytes(desk.screenshot())
    typer.echo(short_path(destination), err=True)


@app.command("debug")
def debug(
    target: TargetName,
    recipes: Recipes = None,
    running: Annotated[bool, typer.Option("--run", help="Let it run; default: it waits, paused.")] = False,
) -> None:
    """Start a machine that debuggers can be attached to.

    Prints the lines to paste into a debugger. gdb sees the processors, from the first instruction on. WinDbg
    needs a Windows that was started with kernel debugging on. Both ports are this host's own (127.0.0.1) and
    close with Ctrl-C.

    Example: harness guest debug vm:stand-in --run
    """
    from harness.machine.desk import hold
    from harness.machine.hypervisor.debugger import open_debugger

    refuse_held(target)
    with (
        _booted(target, recipes) as guest,
        hold(guest, target) as stop,
        open_debugger(guest.machine) as ports,
    ):
        guest.watch.stop()  # a machine in a debugger is silent for as long as somebody thinks
        if not running:
            guest.machine.suspend()
        typer.echo(ports.instructions)
        _wait(stop)
