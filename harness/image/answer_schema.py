"""Validation of answer files against what Microsoft documents (`harness.image.answer_settings`).

Setup itself skips what it does not know, in another pass or for another processor, without a word.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from harness.image.answer_settings import COMPONENTS, PASSES, Setting
from harness.registry.version import WindowsVersion

__all__ = ["check_autounattend"]

_NAMESPACE: Final = "{urn:schemas-microsoft-com:unattend}"
_ACTION: Final = "{http://schemas.microsoft.com/WMIConfig/2002/State}action"
_TOKEN: Final = "31bf3856ad364e35"


@dataclass(frozen=True, slots=True)
class _Medium:
    """What the file is for."""

    version: WindowsVersion
    architecture: str


def check_autounattend(text: str, architecture: str, version: WindowsVersion) -> tuple[str, ...]:
    """What is wrong with an answer file for `version` on `architecture` ("amd64", "x86"), in words.

    Empty when it is sound.
    """
    try:
        root = ElementTree.fromstring(text.encode("utf-8"))
    except ElementTree.ParseError as error:
        return (f"not well-formed XML: {error}",)
    return tuple(_mistakes(root, _Medium(version, architecture)))


def _mistakes(root: ElementTree.Element, medium: _Medium) -> Iterator[str]:
    if root.tag != f"{_NAMESPACE}unattend":
        yield f"the root is {root.tag}, not unattend of urn:schemas-microsoft-com:unattend"
        return
    passes: list[str] = []
    for settings in root:
        if settings.tag != f"{_NAMESPACE}settings":
            yield f"{_name(settings)} below unattend; only settings belong there"
            continue
        where = settings.get("pass", "")
        passes.append(where)
        if where not in PASSES:
            yield f"there is no pass {where!r}"
        seen: set[str] = set()
        for component in settings:
            name = component.get("name", "")
            if name in seen:
                yield f"{where}: {name} twice"
            seen.add(name)
            yield from _component(component, name, where, medium)
    for doubled in sorted({where for where in passes if passes.count(where) > 1}):
        yield f"pass {doubled} twice"
    if "windowsPE" not in passes:
        yield "no windowsPE pass: the commands of specialize are not run without one"


def _component(component: ElementTree.Element, name: str, where: str, medium: _Medium) -> Iterator[str]:
    known = COMPONENTS.get(name)
    if known is None:
        yield f"{where}: the component {name!r} is not a documented one"
        return
    if component.get("processorArchitecture") != medium.architecture:
        yield (
            f"{where}: {name} is for {component.get('processorArchitecture')!r}, the medium for "
            f"{medium.architecture!r}: setup skips it without a word"
        )
    for attribute, wanted in (
        ("publicKeyToken", _TOKEN),
        ("language", "neutral"),
        ("versionScope", "nonSxS"),
    ):
        if component.get(attribute) != wanted:
            yield f"{where}: {name} has {attribute}={component.get(attribute)!r}, not {wanted!r}"
    for child in component:
        setting = known.get(_name(child))
        if setting is not None and where not in setting.passes:
            valid = ", ".join(sorted(setting.passes))
            yield f"{name}/{_name(child)} is valid in {valid}, not in {where}"
    valid_here = {key: setting for key, setting in known.items() if where in setting.passes}
    yield from _elements(component, known, valid_here, f"{where}: {name}", medium)


def _elements(
    parent: ElementTree.Element,
    allowed: Mapping[str, Setting],
    possible: Mapping[str, Setting],
    where: str,
    medium: _Medium,
) -> Iterator[str]:
    """`possible` is what of `allowed` may be there: what is needed of it must be."""
    names = [_name(child) for child in parent]
    for name, setting in possible.items():
        if setting.needed and name not in names:
            yield f"{where}: {name} is missing, and setup stops to ask, or fails"
    for name in sorted(set(names)):
        if names.count(name) > 1 and name in allowed and not allowed[name].listed:
            yield f"{where}: {name} twice"
    for child in parent:
        name = _name(child)
        if name not in allowed:
            yield f"{where}: no element {name!r} is documented there"
        else:
            yield from _element(child, allowed[name], f"{where}/{name}", medium)
    yield from _orders(parent, where)
    if {"Size", "Extend"} <= set(names):
        yield f"{where}: Size and Extend exclude each other"


def _element(element: ElementTree.Element, setting: Setting, where: str, medium: _Medium) -> Iterator[str]:
    if not setting.is_known_to(medium.version):
        yield f"{where}: Windows {medium.version} does not know it"
    if setting.listed and element.get(_ACTION) != "add":
        yield f"{where} needs wcm:action='add'"
    text = (element.text or "").strip()
    if setting.below:
        yield from _elements(element, setting.below, setting.below, where, medium)
    elif len(element):
        yield f"{where} holds text, not elements"
    elif not text:
        yield f"{where} is empty, and setup stops to ask"
    elif setting.longest and len(text) > setting.longest:
        yield f"{where} has {len(text)} characters; {setting.longest} are possible"


def _orders(parent: ElementTree.Element, where: str) -> Iterator[str]:
    orders = [order.text for child in parent if (order := child.find(f"{_NAMESPACE}Order")) is not None]
    if len(set(orders)) != len(orders):
        yield f"{where}: an Order twice"


def _name(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(_NAMESPACE)
