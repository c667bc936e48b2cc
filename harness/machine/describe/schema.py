"""Checks domain XML against libvirt's own schema: no connection to libvirt, nothing started."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

from harness.errors import InfrastructureError, ToolMissingError

__all__ = ["SCHEMA", "validate"]

#: Comes with libvirt's library.
SCHEMA: Final = Path("/usr/share/libvirt/schemas/domain.rng")
_NAMED: Final = 3


def validate(xml: str, schema: Path = SCHEMA) -> None:
    """Raise `InfrastructureError` with what the schema says when `xml` is no domain libvirt would take.

    Raises `ToolMissingError` without the schema or without lxml.
    """
    from lxml import etree  # type: ignore[import-untyped]

    relaxng = _load(schema)
    document = etree.fromstring(xml.encode())
    if not relaxng.validate(document):
        said = [f"line {entry.line}: {entry.message}" for entry in relaxng.error_log]
        raise InfrastructureError(
            f"libvirt's schema {schema} refuses the machine: {'; '.join(said[:_NAMED])}; this is an error "
            "of the harness, or this libvirt is older than 9.0"
        )


@functools.cache
def _load(schema: Path) -> Any:
    try:
        from lxml import etree
    except ImportError as error:
        raise ToolMissingError("lxml is missing: pip install 'regfilter-harness[machines]'") from error
    if not schema.is_file():
        raise ToolMissingError(f"libvirt's schema {schema} is missing: apt-get install libvirt0")
    return etree.RelaxNG(etree.parse(schema))
