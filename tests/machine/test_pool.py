"""Reverting is taking the next clone: fresh every time, ready before it is asked for, ended behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from harness.errors import InfrastructureError, UsageError
from harness.machine.clones import pool as pool_module
from harness.machine.clones.admission import Admission
from harness.machine.clones.clone import Clone
from harness.machine.clones.pool import ClonePool
from harness.machine.clones.template import Template
from harness.machine.describe.spec import SealedImage
from harness.machine.hypervisor.events import EventKind
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.keep.processes import of_folders
from harness.machine.keep.session import Session
from tests.machine.tinyguest import TinyLine


def ready(machine: Machine) -> None:
    with TinyLine(machine.spec.channel_socket) as line:
        line.ask("add 7")
        line.ask("write 3 template")


@pytest.fixture
def admission() -> Admission:
    return Admission(processors=8)


@pytest.fixture
def template(
    machine_session: Session, host: Host, tiny_image: Callable[..., SealedImage], admission: Admission
) -> Iterator[Template]:
    image = tiny_image("pool")
    with Template.open(
        image, session=machine_session, host=host, ready=ready, admission=admission
    ) as template:
        yield template
    assert of_folders((machine_session.folder, machine_session.disk)) == ()
    assert list((machine_session.folder / "m").iterdir()) == []
    assert list((machine_session.disk / "m").iterdir()) == []


@pytest.fixture
def pool(template: Template) -> Iterator[ClonePool]:
    with ClonePool(template, size=2) as pool:
        yield pool


def test_every_clone_is_fresh(pool: ClonePool) -> None:
    """Neither RAM nor disk of one clone is seen by the next, nor by one that runs beside it."""
    with pool.take() as kept, TinyLine(kept.resume().spec.channel_socket) as line:
        assert line.ask("add 5") == "sum c"
        assert line.ask("write 3 kept") == "written"
        for _ in range(4):
            with pool.take() as clone, TinyLine(clone.resume().spec.channel_socket) as other:
                assert other.ask("ping") == "pong 7"
                assert other.ask("read 3") == "read template"
                other.ask("add 1")
                other.ask("write 3 other")
                other.ask("dirty 8")
        assert line.ask("ping") == "pong c"
        assert line.ask("read 3") == "read kept"
    pool.template.verify()


def test_the_pool_fills_up_again(pool: ClonePool) -> None:
    pool.wait_until_full()
    clone = pool.take()
    pool.wait_until_full()
    assert pool.ready == 2
    clone.close()


def test_a_clone_given_back_is_ended_behind(pool: ClonePool, machine_session: Session) -> None:
    clone = pool.take()
    clone.resume()
    folder = clone.machine.spec.folder
    pool.give_back(clone)
    pool.close()
    assert not folder.exists()
    assert of_folders((folder,)) == ()


def test_a_clone_may_be_given_back_after_the_pool_is_closed(pool: ClonePool) -> None:
    clone = pool.take()
    pool.close()
    pool.give_back(clone)
    assert not clone.machine.spec.folder.exists()


def test_a_clone_that_died_waiting_is_not_handed_out(
    pool: ClonePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool.wait_until_full()
    dead = pool._ready[0]
    assert dead.machine.pid is not None
    mark = dead.machine.events_seen
    os.kill(dead.machine.pid, signal.SIGKILL)
    dead.machine.wait_for(EventKind.EXIT, timeout=300, since=mark)
    with pool.take() as clone, TinyLine(clone.resume().spec.channel_socket) as line:
        assert clone is not dead
        assert line.ask("ping") == "pong 7"
    assert f"{dead.name} ended while it waited" in caplog.text


def test_failures_behind_surface_when_a_clone_is_taken(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Clone.start
    failing = threading.Event()
    failing.set()

    def start(*arguments: object, **options: object) -> Clone:
        if failing.is_set():
            raise InfrastructureError("the disk is full")
        return started(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pool_module.Clone, "start", start)
    with ClonePool(template, size=1) as pool:
        with pytest.raises(InfrastructureError, match=r"making a clone of pool failed: the disk is full"):
            pool.take()
        with pytest.raises(InfrastructureError, match="the disk is full"):
            pool.take()
        failing.clear()
        try:
            clone = pool.take()
        except InfrastructureError:  # the try that had begun before
            clone = pool.take()
        clone.close()


def test_many_threads_take_and_give_back(pool: ClonePool) -> None:
    wrong: list[object] = []

    def use() -> None:
        try:
            for _ in range(3):
                clone = pool.take()
                with TinyLine(clone.resume().spec.channel_socket) as line:
                    answer = line.ask("add 1")
                    if answer != "sum 8":
                        wrong.append(answer)
                pool.give_back(clone)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(900)
    assert wrong == []


def test_a_closed_pool_says_so(pool: ClonePool) -> None:
    pool.close()
    pool.close()
    with pytest.raises(InfrastructureError, match="the pool for a clone of pool is closed"):
        pool.take()


def test_an_empty_pool_makes_no_sense(template: Template) -> None:
    with pytest.raises(UsageError, match="a pool of 0 clones"):
        ClonePool(template, size=0)


class TestAdmission:
    def test_processors_are_not_promised_twice(self, template: Template) -> None:
        template.admission.processors = 1
        with ClonePool(template, size=2) as pool:
            pool.wait_until_full()
            first = pool.take()
            with pytest.raises(
                InfrastructureError, match="no processor for a clone of pool within 0 s: 1 of 1"
            ):
                pool.take(timeout=0.1)
            pool.give_back(first)
            with pool.take():
                pass

    def test_a_pool_waits_for_memory(self, template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
        """It fills as far as there is memory, and goes on when a clone gives some back."""
        room = template.appetite.expected + template.appetite.expected // 2
        monkeypatch.setattr(template.admission, "_available", lambda: room)
        monkeypatch.setattr(template.admission, "_reserve", 0)
        monkeypatch.setattr("harness.machine.clones.admission.own_memory", lambda pid: 0)
        with ClonePool(template, size=2) as pool:
            clone = pool.take()
            with pytest.raises(InfrastructureError, match="0 of 2 are, memory for more may be short"):
                pool.take(timeout=0.2)
            clone.close()
            with pool.take() as clone:
                assert clone.machine.pid is not None
            assert pool.ready < 2

    def test_a_host_too_small_is_said_at_once(
        self, template: Template, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(template.admission, "_total", 1 << 20)
        with pytest.raises(InfrastructureError, match=r"needs .* this host has 0 MiB for machines at best"):
            Clone.start(template)

    def test_what_clones_take_is_learned(self, template: Template) -> None:
        guess = template.appetite.expected
        with Clone.start(template) as clone, TinyLine(clone.resume().spec.channel_socket) as line:
            line.ask("dirty 16")
        assert template.appetite.expected <= template.appetite.whole
        assert template.appetite._seen > 16 << 20
        assert guess < template.appetite.whole


def test_memory_that_a_machine_may_take_yet_is_not_promised_twice() -> None:
    admission = Admission(available=lambda: 600 << 20, total=1 << 40, reserve=100 << 20)
    first = admission.memory(300 << 20, "one", timeout=0)
    with pytest.raises(
        InfrastructureError, match="no memory for two within 0 s: it needs 300 MiB, 200 MiB are"
    ):
        admission.memory(300 << 20, "two", timeout=0)
    first.release()
    admission.memory(300 << 20, "two", timeout=0).release()


def test_a_waiting_machine_goes_on_when_memory_is_given_back() -> None:
    admission = Admission(available=lambda: 600 << 20, total=1 << 40, reserve=0)
    first = admission.memory(500 << 20, "one", timeout=0)
    got: list[object] = []
    waiter = threading.Thread(target=lambda: got.append(admission.memory(500 << 20, "two", timeout=300)))
    waiter.start()
    assert got == []
    first.release()
    waiter.join(300)
    assert len(got) == 1


def test_waiting_for_memory_can_be_called_off() -> None:
    admission = Admission(available=lambda: 0, total=1 << 40, reserve=0)
    with pytest.raises(InfrastructureError, match="no memory for one"):
        admission.memory(1, "one", timeout=3600, cancelled=lambda: True)


def test_a_machine_with_too_many_processors_runs_alone() -> None:
    admission = Admission(processors=2)
    with (
        admission.running(64, "big", timeout=0),
        pytest.raises(InfrastructureError, match="2 of 2 are busy"),
        admission.running(1, "small", timeout=0),
    ):
        pass
    with admission.running(1, "small", timeout=0), admission.running(1, "small", timeout=0):
        pass
