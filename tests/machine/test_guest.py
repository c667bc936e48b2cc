"""The tiny guest behind MachineGuest: real machines that bugcheck, hang, reset and lose their QEMU."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import GuestCrashed, GuestHung, InfrastructureError, UnsupportedError
from harness.guest.base import Arch, Capability, GuestKind
from harness.guest.bugcheck import Bugcheck
from harness.machine.describe.spec import MachineSpec, PanicModel
from harness.machine.guest import Identity, MachineGuest
from harness.machine.hypervisor.events import from_qemu
from harness.machine.hypervisor.host import Host
from harness.machine.inside.attest import Promise
from harness.machine.watch.watchers import WatchLimits
from harness.registry.version import WS03, XP
from tests.machine.tiny_channel import TinyChannel, hangs_soon
from tests.machine.tinyguest import tiny_hardware

IDENTITY = Identity(
    "vm:tiny", Promise(GuestKind.REACTOS, WS03, Arch.X86), {"flying": "it has no wings"}, "t1"
)
#: Whether a guest is silent for long says how busy the host is: tests of hangs call `hangs_soon`.
LIMITS = WatchLimits(silence=600.0, circle_times=50, circle_seconds=0.5)
PANICKING = tiny_hardware(panic=(PanicModel.HYPERV, PanicModel.ISA), hyperv=True)

Boot = Callable[..., MachineGuest]


@pytest.fixture
def boot(host: Host, tiny: Callable[..., MachineSpec]) -> Iterator[Boot]:
    with ExitStack() as stack:

        def start(
            identity: Identity = IDENTITY, *, call_seconds: float = 60.0, **channel: Any
        ) -> MachineGuest:
            machine = stack.enter_context(host.start(tiny(hardware=PANICKING)))
            line = TinyChannel(machine.spec.channel_socket, **channel)
            guest = MachineGuest(
                machine, line, identity, release=machine.destroy, limits=LIMITS, call_seconds=call_seconds
            )
            return stack.enter_context(guest)

        yield start


def dies(guest: MachineGuest, *command: str) -> GuestCrashed:
    """The crash that ends a waiting command, and every later one alike."""
    with pytest.raises(GuestCrashed) as first:
        guest.execute(command)
    assert not guest.usable
    with pytest.raises(type(first.value)) as second:
        guest.execute(["ping"])
    assert second.value.bugcheck == first.value.bugcheck
    return first.value


def test_it_says_what_it_is(boot: Boot) -> None:
    guest = boot()
    info = guest.info
    assert (info.name, info.kind, info.version, info.arch) == ("vm:tiny", GuestKind.REACTOS, WS03, Arch.X86)
    assert info.facts.product == "tiny"
    assert info.facts.clock_skew is not None
    assert (info.facts.template, info.facts.channel, info.facts.accelerator) == ("t1", "serial", "tcg")
    assert Capability.CALLBACKS in info.capabilities
    assert not info.capabilities & {Capability.LAYERING, Capability.APP_HIVES, Capability.TRANSACTIONS}
    assert "CmRegisterCallbackEx" in info.reasons[Capability.LAYERING]
    assert info.reasons["flying"] == "it has no wings"
    assert guest.execute(["add", "5"]).stdout == b"sum 5"


def test_wine_is_found_to_have_no_callbacks(boot: Boot) -> None:
    identity = replace(IDENTITY, promise=Promise(GuestKind.STAND_IN, WS03, Arch.X86))
    calls = {"calls": ["NtLoadKeyEx"], "pretends": ["RegLoadAppKeyW"]}
    info = boot(identity, environment={"wine": "8.0", **calls}).info
    assert not info.capabilities & {Capability.CALLBACKS, Capability.LAYERING, Capability.APP_HIVES}
    assert info.reasons[Capability.CALLBACKS] == "Wine 8.0 has no registry callbacks"
    assert info.reasons[Capability.APP_HIVES] == "RegLoadAppKeyW of Wine 8.0 claims success and does nothing"


@pytest.mark.parametrize(
    ("promise", "environment", "says"),
    [
        (
            Promise(GuestKind.REACTOS, XP, Arch.X86),
            {},
            "version: the recipe says 5.1.2600, the guest 5.2.3790",
        ),
        (Promise(GuestKind.REACTOS, WS03, Arch.X64), {}, "architecture: the recipe says x64, the guest x86"),
        (
            Promise(GuestKind.WINDOWS, WS03, Arch.X86, secure_boot=False, test_signing=True),
            {"reactos": None, "secure_boot": True, "test_signing": False},
            "Secure Boot: the recipe says off, the guest on; test signing: the recipe says on, the guest off",
        ),
        (Promise(GuestKind.WINDOWS, WS03, Arch.X86), {"wine": "8.0"}, "says windows, the guest is stand-in"),
        (Promise(GuestKind.STAND_IN, WS03, Arch.X86), {}, "says stand-in, the guest is reactos"),
    ],
)
def test_a_guest_that_is_not_what_was_promised_is_infra(
    boot: Boot, promise: Promise, environment: dict[str, Any], says: str
) -> None:
    with pytest.raises(InfrastructureError, match=f"vm:tiny is not what its recipe promises: .*{says}"):
        boot(replace(IDENTITY, promise=promise), environment=environment)


def test_a_clock_that_can_not_be_set_is_infra(boot: Boot) -> None:
    with pytest.raises(InfrastructureError, match=r"clock is -3600\.\d s off"):
        boot(skew=-3600.0)


def test_crash_registers(boot: Boot) -> None:
    """QEMU has Hyper-V's crash registers under KVM only: its event is put in where libvirt would bring it."""
    guest = boot()
    words = {"arg1": 0x7E, "arg2": 0xC0000005, "arg3": 0xF7A12345, "arg4": 0xF9E3A5B0, "arg5": 1}
    event = from_qemu("GUEST_PANICKED", {"action": "pause", "info": {"type": "hyper-v", **words}})
    timer = threading.Timer(0.05, guest.machine._log.add, [event])
    timer.start()
    try:
        crash = dies(guest, "halt")
    finally:
        timer.join()
    assert type(crash) is GuestCrashed
    assert crash.bugcheck == Bugcheck(0x7E, (0xC0000005, 0xF7A12345, 0xF9E3A5B0, 1))


def test_a_bugcheck_on_the_debug_port(boot: Boot) -> None:
    crash = dies(boot(), "stop", "d1", "10", "2", "1", "f7a12345")
    assert (crash.bugcheck.code, crash.bugcheck.parameters) == (0xD1, (0x10, 2, 1, 0xF7A12345))


def test_the_plain_panic_device(boot: Boot) -> None:
    crash = dies(boot(), "pvpanic")
    assert crash.bugcheck.code is None
    assert "code is not known" in str(crash)


@pytest.mark.parametrize("command", ["hang", "halt"])
def test_a_hang(boot: Boot, command: str) -> None:
    guest = boot()
    hangs_soon(guest)
    assert isinstance(dies(guest, command), GuestHung)


def test_a_reset_nobody_asked_for(boot: Boot) -> None:
    assert "reset itself" in str(dies(boot(), "fault"))


def test_lines_that_go_round_in_a_circle(boot: Boot) -> None:
    crash = dies(boot(), "repeat", "1000000", "waiting for the disk")
    assert isinstance(crash, GuestHung)
    assert "waiting for the disk" in str(crash)


def test_a_guest_that_switches_itself_off_is_infra(boot: Boot) -> None:
    guest = boot()
    with pytest.raises(InfrastructureError, match="switched itself off"):
        guest.execute(["off"])
    assert not guest.usable


def test_a_killed_qemu_is_infra(boot: Boot) -> None:
    guest = boot()
    assert guest.machine.pid is not None
    os.kill(guest.machine.pid, signal.SIGKILL)
    with pytest.raises(InfrastructureError, match="QEMU ended by itself"):
        guest.execute(["ping"])


def test_a_driver_that_does_not_return_is_a_hang(boot: Boot) -> None:
    guest = boot(call_seconds=0.2)
    with pytest.raises(GuestHung, match=r"reading .* does not return"):
        guest.read_device("\\\\.\\Stuck", 1)
    assert not guest.usable


def test_debug_output_is_what_the_guest_said_since(boot: Boot) -> None:
    guest = boot()
    guest.debug_output()
    guest.execute(["say", "hello from below"])
    assert guest.debug_output() == ["hello from below"]
    assert guest.debug_output() == []


def test_a_closed_guest_says_so(boot: Boot) -> None:
    guest = boot()
    guest.close()
    with pytest.raises(InfrastructureError, match="was closed"):
        guest.execute(["ping"])


def test_evidence_of_a_crash(boot: Boot, tmp_path: Path) -> None:
    guest = boot()
    guest.execute(["say", "last words"])
    crash = dies(guest, "pvpanic")
    files = guest.save_evidence(tmp_path, crash, memory_mib=64)
    assert {"screen.png", "debug.log", "qemu.log", "domain.xml", "events.txt", "environment.json"} <= set(
        files
    )
    assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert b"last words" in (tmp_path / "debug.log").read_bytes()
    assert "GUEST_PANICKED" in (tmp_path / "events.txt").read_text()
    assert json.loads((tmp_path / "environment.json").read_text())["product"] == "tiny"
    assert "<domain" in (tmp_path / "domain.xml").read_text()
    with gzip.open(tmp_path / "memory.elf.gz") as dump:
        assert dump.read(4) == b"\x7fELF"
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["error"].startswith("GuestCrashed: the guest panicked")
    assert ["index.json", *(piece["name"] for piece in index["pieces"] if not piece["missing"])] == list(
        files
    )
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("memory*"))


def test_evidence_of_a_failure_has_no_memory(boot: Boot, tmp_path: Path) -> None:
    guest = boot()
    files = guest.save_evidence(tmp_path, AssertionError("no"), memory_mib=64)
    assert "screen.png" in files
    assert not [name for name in files if name.startswith("memory")]


def test_a_memory_beyond_the_limit_is_not_dumped(boot: Boot, tmp_path: Path) -> None:
    guest = boot()
    guest.save_evidence(tmp_path, dies(guest, "pvpanic"), memory_mib=63)
    pieces = {piece["name"]: piece for piece in json.loads((tmp_path / "index.json").read_text())["pieces"]}
    assert pieces["memory"]["missing"] == "the guest has 64 MiB, a dump may have 63"


def test_a_piece_that_fails_costs_no_other(boot: Boot, tmp_path: Path) -> None:
    guest = boot()
    assert guest.machine.pid is not None
    os.kill(guest.machine.pid, signal.SIGKILL)
    with pytest.raises(InfrastructureError) as error:
        guest.execute(["ping"])
    files = guest.save_evidence(tmp_path, error.value, memory_mib=64)
    assert {"debug.log", "qemu.log", "events.txt", "environment.json"} <= set(files)
    missing = {
        piece["name"]: piece["missing"]
        for piece in json.loads((tmp_path / "index.json").read_text())["pieces"]
        if piece["missing"]
    }
    assert "InfrastructureError" in missing["screen.png"]


def test_what_the_guest_has_no_notion_of_is_a_skip(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.channel.errors import RunnerError
    from harness.channel.frames import RunnerErrorCode

    guest = boot()

    def refuse(*arguments: object, **options: object) -> object:
        raise RunnerError("this system has no such thing", code=RunnerErrorCode.UNSUPPORTED)

    monkeypatch.setattr(guest.channel, "execute", refuse)
    with pytest.raises(UnsupportedError, match="no such thing"):
        guest.execute(["anything"])
