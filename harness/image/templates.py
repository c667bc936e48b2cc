"""The answer files and first-boot scripts of unattended installs, made of the templates in vm-images/shared.

Pure: facts in, texts out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.image.answer import AnswerFacts

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render", "shared_folder"]


def shared_folder() -> Path:
    """The templates: in a checkout, or inside an installed package."""
    here = Path(__file__).resolve()
    for place in (here.parents[2] / "vm-images" / "shared", here.parents[1] / "vm-images" / "shared"):
        if place.is_dir():
            return place
    raise UsageError("the install templates (vm-images/shared) are not there; reinstall the package")


def render(template: str, facts: AnswerFacts) -> str:
    """One template of the shared folder by its name without ``.j2``.

    XML is escaped by its rules; scripts and INI files end their lines as Windows' own parsers want it.
    """
    text = _environment().get_template(f"{template}.j2").render(os=facts)
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return "".join(f"{line}\r\n" for line in lines)


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(shared_folder()),
        undefined=StrictUndefined,
        autoescape=lambda name: bool(name) and str(name).endswith(".xml.j2"),
        keep_trailing_newline=True,
    )
