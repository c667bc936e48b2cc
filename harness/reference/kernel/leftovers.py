"""What a driver left behind when it unloaded, as Driver Verifier finds it.

Pool is 0xC4 with 0x62; code that the system may still call (callbacks, timers, threads, work items, devices)
is 0xCE, the code Windows stops with when such a routine is called after the image is gone. The model does not
wait for that call: it names what is left at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.kernel.ex_callback import registrations
from harness.reference.kernel.mdl_pages import pages_of
from harness.reference.pool import tag_text

if TYPE_CHECKING:
    from harness.reference.kernel.objects import KernelObject
    from harness.reference.machine import Machine
    from harness.reference.modules import Driver

__all__ = ["check_leftovers", "live_routines", "release_leftovers"]

_SHOWN = 8


def live_routines(m: Machine, driver_object: KernelObject, module: Driver) -> list[str]:
    """Registrations and objects of a driver that point into its image or belong to it, in words."""
    kernel = m.kernel
    left = [
        f"registry callback {each.routine:#x} ({'legacy' if each.legacy else each.altitude})"
        for each in m.registry.stack.ordered
        if module.base <= each.routine < module.end
    ]
    left += kernel.notify.owned_by(module)
    left += [f"timer {address:#x}" for address in kernel.timers_of(module)]
    left += [f"{task.what} at {task.routine:#x}" for task in kernel.scheduler.owned_by(module)]
    for obj in driver_object.body.devices:
        name = kernel.namespace.full_name(obj) or f"{obj.address:#x}"
        left.append(f"device object {name}")
    for link, owner in kernel.symbolic_links.values():
        if owner is module:
            left.append(f"symbolic link {kernel.namespace.full_name(link)}")
    left += [f"minifilter {at:#x}" for at, each in kernel.minifilters.items() if each.driver is module]
    left += [f"callback object routine at {each.routine:#x}" for each in registrations(m, module)]
    ports = m.objects.of_type(m.objects.types["FilterConnectionPort"])
    left += [
        f"communication port {kernel.namespace.full_name(port)}" for port in ports if port.body is module
    ]
    left += [f"lookaside list {at:#x}" for at, owner in kernel.lookaside.items() if owner is module]
    left += [f"IRP {irp.address:#x}" for irp in kernel.io.irps.live.values() if irp.driver is module]
    return left


def check_leftovers(m: Machine, driver_object: KernelObject, module: Driver, when: str) -> None:
    """Bugcheck for what is left. `when` ends the sentence: "after DriverUnload"."""
    left = live_routines(m, driver_object, module)
    if left:
        shown = "; ".join(left[:_SHOWN]) + (f"; and {len(left) - _SHOWN} more" if len(left) > _SHOWN else "")
        m.bugcheck(0xCE, module.base, 0, 0, 0, driver=module, reason=f"{when} these are left: {shown}")
    pages = pages_of(m, module)
    if pages:
        # 0x60 and 0x62 are about pool; page "Bug Check 0xC4" has no code for pages of an MDL.
        m.bugcheck(
            0xC4, 0x62, 0, 0, len(pages), driver=module, reason=f"{when} these are left: {'; '.join(pages)}"
        )
    leaks = m.pool.outstanding(module)
    if leaks:
        tags = sorted({tag_text(each.tag) for each in leaks})
        shown = "; ".join(str(each) for each in leaks[:_SHOWN])
        name = driver_object.address + m.kernel.io.driver_layout.offset("DriverName")
        m.bugcheck(
            0xC4,
            0x62,
            name,
            0,
            len(leaks),
            driver=module,
            reason=f"{when} {len(leaks)} pool allocation(s) are left (tags {', '.join(tags)}): {shown}",
        )


def release_leftovers(m: Machine, driver_object: KernelObject, module: Driver) -> None:
    """Take everything back without a word, where the leak check is switched off."""
    kernel = m.kernel
    m.registry.stack.abandon(module)
    for each in list(m.registry.stack.ordered):
        if module.base <= each.routine < module.end:
            m.registry.stack.unregister(m.current.tid, each.cookie)
    kernel.notify.abandon(module)
    for address in kernel.timers_of(module):
        kernel.scheduler.cancel_timer(address)
    kernel.scheduler.abandon(module)
    for obj in list(driver_object.body.devices):
        kernel.io.delete_device(obj)
    for address, (link, owner) in list(kernel.symbolic_links.items()):
        if owner is module:
            del kernel.symbolic_links[address]
            kernel.namespace.remove(link)
    for mdl, pages in list(kernel.mdl_pages.items()):
        if pages.driver is module:
            del kernel.mdl_pages[mdl]
            m.memory.unmap_pages(pages.base, pages.count)
    m.pool.release_owned(module)
