"""Process, thread and image notifications, and drivers that forget to take their routines back."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import reference
from harness.driver import build_signed
from harness.errors import GuestCrashed, ToolMissingError
from harness.reference import ReferenceGuest
from harness.reference.cm.tokens import ADMINISTRATOR

DRIVERS = Path(__file__).parent / "drivers"


def image(name: str, arch: str) -> bytes:
    try:
        return build_signed(DRIVERS / name, arch).read()
    except ToolMissingError as error:
        pytest.skip(str(error))


def watched(guest: ReferenceGuest) -> list[str]:
    return [line.removeprefix("watch: ") for line in guest.debug_output() if line.startswith("watch:")]


@pytest.mark.parametrize(("version", "arch"), [("10.0.26100", "x64"), ("5.1", "x86")])
def test_processes_threads_and_images_are_told(version: str, arch: str) -> None:
    with reference.boot(version, arch=arch) as guest:
        guest.install_driver("watch", image("watch", arch))
        assert guest.start_driver("watch") == 0
        machine, processes = guest.machine, guest.machine.kernel.processes
        with machine.running_as(guest.user):
            child = processes.create(
                "child.exe", image=r"C:\child.exe", token=ADMINISTRATOR, parent=guest.user.process.pid
            )
            processes.create_thread(child)
            assert watched(guest) == ["start child.exe of me", "thread start"]
            processes.ended(child, 0)
            assert watched(guest) == ["thread end", "end child.exe of me"]
        guest.install_driver("lab", image("lab", arch))
        assert guest.start_driver("lab") == 0
        assert watched(guest)[0] == r"image \SystemRoot\System32\drivers\lab.sys kernel 0"
        assert guest.stop_driver("lab") == 0
        assert guest.stop_driver("watch") == 0


def test_a_routine_left_behind_is_named() -> None:
    with reference.boot("10.0.26100") as guest:
        guest.install_driver("watch", image("watch", "x64"))
        assert guest.start_driver("watch") == 0
        notify = guest.machine.kernel.notify
        again = notify.thread_routines[0]
        notify.thread_routines.append(again)  # as if the driver had registered it once more
        with pytest.raises(GuestCrashed, match="thread notify routine") as crash:
            guest.stop_driver("watch")
        assert (crash.value.bugcheck.code, crash.value.bugcheck.driver) == (0xCE, "watch.sys")
