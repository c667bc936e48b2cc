"""What drivers hold in the model: it knows every allocation, registration, context, handle and reference."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.guest.leaks import Held, Holding, Outstanding, pool_words
from harness.reference.modules import Driver
from harness.reference.pool import tag_text

if TYPE_CHECKING:
    from harness.reference.filtering.registration import Registration
    from harness.reference.kernel.objects import Handle, KernelObject
    from harness.reference.machine import Machine
    from harness.reference.threads import Process

__all__ = ["outstanding"]


def outstanding(m: Machine) -> Outstanding:
    """Everything at this moment, but for the kernel's own pool and for pointers to other kinds of objects."""
    held = (_drivers, _pool, _callbacks, _handles, _kernel_handles, _process_references)
    return Outstanding(tuple(each for kind in held for each in kind(m)))


def _drivers(m: Machine) -> Iterator[Held]:
    return (Held(Holding.DRIVERS, module.name) for module in m.modules)


def _pool(m: Machine) -> Iterator[Held]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for allocation in m.pool:
        owner = allocation.owner
        if isinstance(owner, Driver):
            what = pool_words(owner.name, tag_text(allocation.tag), paged=allocation.paged)
            found[what].append(allocation.size)
    for what, sizes in found.items():
        yield Held(Holding.POOL, what, len(sizes), sum(sizes))


def _callbacks(m: Machine) -> Iterator[Held]:
    for each in m.registry.stack.ordered:
        name = _name_of(m, each)
        yield Held(Holding.CALLBACKS, name)
        if each.holders:
            yield Held(Holding.CONTEXTS, f"of the callback {name}", len(each.holders))


def _name_of(m: Machine, registration: Registration) -> str:
    module = m.modules.at(registration.routine)
    where = "legacy" if registration.legacy else str(registration.altitude)
    return f"{where} of {module.name if module else 'no driver'}"


def _handles(m: Machine) -> Iterator[Held]:
    """Handles on keys by path and opener, then key objects with more references than handles."""
    key_type = m.registry.keys.type
    handles: Counter[str] = Counter()
    for process in m.kernel.processes.by_pid.values():  # the kernel's own handles are those of System
        for handle in process.body.handles.entries.values():
            if handle.object.type is key_type:
                handles[f"{_path(m, handle.object)}, opened by {_opener(handle, process)}"] += 1
    references: Counter[str] = Counter()
    for obj in m.objects.of_type(key_type):
        more = obj.references - obj.handles
        if more > 0:
            references[_path(m, obj)] += more
    for what, count in handles.items():
        yield Held(Holding.HANDLES, what, count)
    for what, count in references.items():
        yield Held(Holding.REFERENCES, what, count)


def _kernel_handles(m: Machine) -> Iterator[Held]:
    """The kernel's handles on anything but keys, by type, name and opener."""
    found: Counter[str] = Counter()
    system = m.kernel.processes.system
    for handle in system.body.handles.entries.values():
        kind = handle.object.type
        if kind is not m.registry.keys.type:
            name = kind.query_name(handle.object) if kind.query_name is not None else None
            found[f"{kind.name} {name or '(unnamed)'}, opened by {_opener(handle, system)}"] += 1
    return (Held(Holding.KERNEL_HANDLES, what, count) for what, count in found.items())


def _process_references(m: Machine) -> Iterator[Held]:
    """Pointers to processes and threads, ended ones too, beyond their handles and their own life."""
    processes = m.kernel.processes
    for obj in m.objects.of_type(processes.process_type):
        process = obj.body.process
        yield from _more_references(obj, f"process {process.pid} ({process.name})")
    for obj in m.objects.of_type(processes.thread_type):
        thread = obj.body.thread
        yield from _more_references(obj, f"thread {thread.tid} of {thread.process.name}")


def _more_references(obj: KernelObject, what: str) -> Iterator[Held]:
    more = obj.references - obj.handles - int(obj.permanent)
    if more > 0:
        yield Held(Holding.PROCESS_REFERENCES, what, more)


def _opener(handle: Handle, process: Process) -> str:
    return handle.opener.name if handle.opener is not None else process.name


def _path(m: Machine, obj: KernelObject) -> str:
    return m.registry.keys.path(obj.body)
