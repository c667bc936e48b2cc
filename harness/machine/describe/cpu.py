"""A QEMU CPU argument, "max,-smap", as libvirt's <cpu> element."""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from harness.errors import UsageError

__all__ = ["cpu_element"]

_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FEATURE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ON: Final = {"on": True, "off": False}


def cpu_element(cpu: str) -> Element:
    """<cpu> for a model with flags: "+name", "-name", "name=on", "name=off", behind commas.

    "max" is everything the accelerator can do. Raises `UsageError` for anything else, "host" included: a
    template of it could be used on this host only.
    """
    model, *flags = cpu.split(",")
    if model in {"host", "host-passthrough", "host-model"}:
        raise UsageError(
            f"CPU model {cpu!r} depends on the host; name a fixed one, such as 'Nehalem', or 'max'"
        )
    if not _MODEL.fullmatch(model):
        raise UsageError(f"CPU model {cpu!r} is none; `qemu-system-x86_64 -cpu help` lists them")
    if model == "max":
        element = Element("cpu", mode="maximum")
    else:
        element = Element("cpu", mode="custom", match="exact", check="none")
        SubElement(element, "model", fallback="forbid").text = model
    for flag in flags:
        name, wanted = _flag(flag, cpu)
        SubElement(element, "feature", policy="require" if wanted else "disable", name=name)
    return element


def _flag(flag: str, cpu: str) -> tuple[str, bool]:
    if flag[:1] in {"+", "-"}:
        name, wanted = flag[1:], flag[0] == "+"
    else:
        name, _, value = flag.partition("=")
        if value not in _ON:
            raise UsageError(f"CPU flag {flag!r} of {cpu!r}: write +{name}, -{name}, {name}=on or {name}=off")
        wanted = _ON[value]
    if not _FEATURE.fullmatch(name):
        raise UsageError(f"CPU flag {flag!r} of {cpu!r} is no feature's name")
    return name, wanted
