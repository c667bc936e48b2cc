"""From sealed images to running guests: one template and one pool for each image, kept until the end.

The first guest of an image opens its template, which is made when there is none; every further one is the
next clone. A session of this process holds them all, and its end leaves nothing behind.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from harness.channel.base import Channel, ChannelKind
from harness.channel.deadline import Deadline
from harness.channel.environment import Environment
from harness.channel.errors import ChannelError
from harness.channel.runner import RunnerClient
from harness.cleanup import Closing
from harness.errors import InfrastructureError
from harness.machine.clones.admission import Admission
from harness.machine.clones.identity import environment_of
from harness.machine.clones.kept import Unpack, started_from
from harness.machine.clones.pool import ClonePool
from harness.machine.clones.template import Template
from harness.machine.describe.axes import Axis
from harness.machine.describe.spec import Accelerator, MachineSpec, SealedImage
from harness.machine.guest import Identity, MachineGuest
from harness.machine.hypervisor.accelerator import choose_accelerator
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.inside.attest import set_clock
from harness.machine.inside.axes import begins_after, check_axes, in_effect, switch_on
from harness.machine.inside.hibernation import check_resumed, hibernate
from harness.machine.keep.eviction import free_up
from harness.machine.keep.places import Places, available_memory
from harness.machine.keep.session import EMBEDDED, Session
from harness.machine.keep.store import Environment as Conditions
from harness.machine.keep.store import TemplateStore
from harness.machine.watch.debug_log import DebugLog
from harness.machine.watch.watchers import Watch, WatchLimits

__all__ = ["MachineSettings", "Machines", "Make", "WayIn"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WayIn:
    """A way to a machine's runner; `open` connects within so many seconds."""

    kind: ChannelKind
    open: Callable[[Machine, float], Channel]


@dataclass(frozen=True, slots=True)
class Make:
    """What a target's machines are made of, what they are to be, and the ways to them, the best first."""

    image: SealedImage
    identity: Identity
    ways: tuple[WayIn, ...]


#: How long a clone's runner may take to answer: it was frozen while it did.
_ANSWER_SECONDS: Final = 60.0
_QUIESCE_SECONDS: Final = 120.0
#: A machine that boots is looked after by watchers: what they see ends the wait for its runner.
_STEP: Final = 5.0
_PAUSE: Final = 0.5
_TAKE_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """How machines are run. `clones` wait in each pool; `uri` is libvirt's."""

    clones: int = 1
    uri: str = EMBEDDED
    places: Places | None = None  # None: the user's own
    accelerator: Accelerator | None = None  # None: KVM where a guest really boots on it
    limits: WatchLimits | None = None


class Machines(Closing):
    """A context manager that ends every machine it made. Safe for several threads."""

    def __init__(self, settings: MachineSettings | None = None) -> None:
        self.settings = settings or MachineSettings()
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._host: Host | None = None
        self._session: Session | None = None
        self._admission = Admission(free_up=self._free_up)
        self._pools: dict[str, ClonePool] = {}

    def guest(self, image: SealedImage, identity: Identity, ways: Sequence[WayIn]) -> MachineGuest:
        """A fresh clone, running, its clock set, asked what it is; the caller closes it.

        It is talked to by the first of `ways`; all of them answer before the template is frozen. Raises
        `InfrastructureError` when there is no room, the template does not come up, or the guest is not what
        `identity` promises; `GuestCrashed` and `GuestHung` when the guest dies at once.
        """
        pool = self._pool(image, identity, ways)
        clone = pool.take(timeout=image.boot_seconds + _TAKE_SECONDS)
        with ExitStack() as stack:
            stack.callback(clone.close)
            machine = clone.resume()
            self._set_clock_beside(machine, identity, ways)
            channel = stack.enter_context(ways[0].open(machine, _ANSWER_SECONDS))
            stack.pop_all()  # the guest owns both from here on, also when it can't be made
            return MachineGuest(
                machine,
                channel,
                replace(identity, template=image.digest, conditions=pool.template.manifest.environment),
                release=lambda: pool.give_back(clone),
                limits=self.settings.limits,
            )

    # -- a machine that was kept -----------------------------------------------------------------------------

    def conditions(self, image: SealedImage) -> Conditions:
        """What must have been the same where a state is loaded of a machine of `image`."""
        session, host = self._opened()
        return environment_of(image, host, self._accelerator(session))

    @contextmanager
    def started_from(self, image: SealedImage, unpack: Unpack) -> Iterator[Machine]:
        """A machine of `image` on files of another one, without a template; `clones.kept.started_from`."""
        session, host = self._opened()
        with started_from(
            image,
            unpack,
            session=session,
            host=host,
            accelerator=self._accelerator(session),
            admission=self._admission,
        ) as machine:
            yield machine

    def reach(self, machine: Machine, make: Make) -> MachineGuest | None:
        """The guest of a machine that was `started_from` files; None as long as its runner doesn't answer.

        The caller closes it, and ends the machine. Raises `InfrastructureError` when the guest is not what
        its recipe promises, `GuestCrashed` and `GuestHung` when it dies at once.
        """
        identity, ways = make.identity, make.ways
        try:
            with ExitStack() as stack:
                channel = stack.enter_context(ways[0].open(machine, _STEP))
                self._set_clock_beside(machine, identity, ways)
                stack.pop_all()
            identity = replace(identity, template=make.image.digest)
            return MachineGuest(machine, channel, identity, release=lambda: None, limits=self.settings.limits)
        except ChannelError:
            return None

    @staticmethod
    def _set_clock_beside(machine: Machine, identity: Identity, ways: Sequence[WayIn]) -> None:
        """Set the clock through the runner on the serial port, where another channel is used.

        An account that logs in over the network need not be allowed to.
        """
        serial = next((way for way in ways[1:] if way.kind is ChannelKind.SERIAL), None)
        if serial is not None:
            with serial.open(machine, _ANSWER_SECONDS) as channel:
                set_clock(RunnerClient(channel), identity.name)

    # -- templates -------------------------------------------------------------------------------------------

    def _pool(self, image: SealedImage, identity: Identity, ways: Sequence[WayIn]) -> ClonePool:
        with self._lock:
            pool = self._pools.get(image.digest)
            if pool is None:
                session, host = self._open()
                cycle = _Cycle(host, image, identity, ways, self._ready)
                template = self._stack.enter_context(
                    Template.open(
                        image,
                        session=session,
                        host=host,
                        ready=cycle.ready,
                        prepare=cycle.fall_asleep if Axis.HIBERNATE in identity.on.axes else None,
                        accelerator=self._accelerator(session),
                        admission=self._admission,
                    )
                )
                pool = self._stack.enter_context(ClonePool(template, size=self.settings.clones))
                self._pools[image.digest] = pool
            return pool

    def _free_up(self, size: int) -> None:
        """Have `size` bytes of memory available, if unused templates hold them."""
        free_up(TemplateStore(self.settings.places or Places.standard()), size, available_memory)

    def _accelerator(self, session: Session) -> Accelerator:
        return self.settings.accelerator or choose_accelerator(session.places.cache)

    def _opened(self) -> tuple[Session, Host]:
        with self._lock:
            return self._open()

    def _open(self) -> tuple[Session, Host]:
        if self._session is None or self._host is None:
            session = Session.open(self.settings.places, uri=self.settings.uri)
            self._stack.callback(session.leave)
            uri = None if session.embedded else self.settings.uri
            host = self._stack.enter_context(Host.open(uri, root=session.libvirt_root))
            self._session, self._host = session, host
        return self._session, self._host

    def _ready(
        self,
        machine: Machine,
        image: SealedImage,
        identity: Identity,
        ways: Sequence[WayIn],
        slept: Environment | None,
    ) -> None:
        """Wait until the booting guest answers on all its channels and is quiet, so that it can be frozen.

        Axes are switched on before; that takes it another boot. One that `slept` has had that, and resumes.
        """
        deadline = Deadline.after(image.boot_seconds)
        log_file = DebugLog(machine.spec.debug_log)
        watching = Watch(machine, log_file, limits=self.settings.limits, booting=True)
        with watching.start() as watch, watch.call():
            if identity.on.axes and slept is None:
                _switch_on(machine, image, identity, ways[0], watch)
                deadline = Deadline.after(image.boot_seconds)
            for way in ways[1:]:
                _connected(machine, way, deadline, watch).close()
            with _connected(machine, ways[0], deadline, watch) as channel:
                watch.latch.tell(channel.fail)
                runner = RunnerClient(channel)
                if slept is not None:
                    found = runner.environment()
                    check_resumed(slept, found, identity.name)
                    check_axes(identity.on, found, identity.name)
                runner.quiesce(timeout=_QUIESCE_SECONDS)

    def close(self) -> None:
        """End all pools and machines. May be called again; guests that are still open are closed before."""
        with self._lock:
            self._pools.clear()
            self._stack.close()
            self._host = self._session = None


class _Cycle:
    """The lives of the machine that becomes a template: one, or two where its guest hibernates in between."""

    def __init__(
        self,
        host: Host,
        image: SealedImage,
        identity: Identity,
        ways: Sequence[WayIn],
        ready: Callable[[Machine, SealedImage, Identity, Sequence[WayIn], Environment | None], None],
    ) -> None:
        self._host = host
        self._image = image
        self._identity = identity
        self._ways = ways
        self._ready = ready
        self._slept: Environment | None = None

    def fall_asleep(self, spec: MachineSpec) -> None:
        """The first life: axes on, everything answering; it ends with the guest's hibernation."""
        self._slept = None
        name, seconds = self._identity.name, self._image.boot_seconds
        with self._host.start(spec) as machine:
            self._ready(machine, self._image, self._identity, self._ways, None)
            with self._ways[0].open(machine, _ANSWER_SECONDS) as channel:
                runner = RunnerClient(channel)
                before = runner.environment()
                log.info("%s: hibernating", name)
                hibernate(machine, runner, name, timeout=seconds)
        self._slept = before

    def ready(self, machine: Machine) -> None:
        """The last life, until it can be frozen."""
        if Axis.HIBERNATE in self._identity.on.axes and self._slept is None:
            raise InfrastructureError(
                f"{self._identity.name}: QEMU can't save this machine, so that its clones are booted, and "
                "none of them would be resumed from hibernation"
            )
        self._ready(machine, self._image, self._identity, self._ways, self._slept)


def _switch_on(machine: Machine, image: SealedImage, identity: Identity, way: WayIn, watch: Watch) -> None:
    """Switch the axes on, wait for the boot that makes them so, and see that they are."""
    deadline = Deadline.after(image.boot_seconds)
    with _connected(machine, way, deadline, watch) as channel:
        runner = RunnerClient(channel)
        before = found = runner.environment()
        restarts = switch_on(runner, identity.on, before, identity.name)
    if restarts:
        deadline = Deadline.after(image.boot_seconds + begins_after(identity.on))
        while not in_effect(identity.on, before, found):
            if deadline.passed:
                raise InfrastructureError(
                    f"{identity.name}: no other boot within {image.boot_seconds:g} s after "
                    f"{', '.join(identity.on.axes)} was switched on; has its recipe too few boot_seconds?"
                )
            step = Deadline.after(_PAUSE)
            with suppress(ChannelError), _connected(machine, way, deadline, watch) as channel:
                found = RunnerClient(channel).environment()
            watch.latch.wait(step.left)
            watch.latch.check()
    check_axes(identity.on, found, identity.name)


def _connected(machine: Machine, way: WayIn, deadline: Deadline, watch: Watch) -> Channel:
    """The channel, as soon as somebody answers at its other end; what the watchers see ends the wait.

    A forwarded port takes connections before the guest does, and resets them.
    """
    while True:
        step = Deadline.after(_PAUSE)
        try:
            return way.open(machine, deadline.at_most(_STEP))
        except ChannelError:
            watch.latch.check()
            if deadline.passed:
                raise
            watch.latch.wait(step.left)
