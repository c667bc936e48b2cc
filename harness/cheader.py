"""A C header of driver-src/abi as Python sees it: its constants and structures, parsed by dissect.cstruct."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Final

from dissect.cstruct import cstruct

from harness.errors import InfrastructureError, UsageError

__all__ = ["CHeader"]

_PACKAGE: Final = Path(__file__).resolve().parent


class CHeader:
    """One header, read when it is first asked for something."""

    def __init__(self, name: str) -> None:
        """`name` is the file's."""
        self.name = name

    @property
    def path(self) -> Path:
        """Inside an installed package, or in driver-src/abi of a checkout.

        Raises `InfrastructureError` when it is in neither place.
        """
        places = (
            _PACKAGE / "driver" / "sources" / "abi" / self.name,
            _PACKAGE.parent / "driver-src" / "abi" / self.name,
        )
        for place in places:
            if place.is_file():
                return place
        listed = " nor ".join(str(place) for place in places)
        raise InfrastructureError(f"the header {self.name} is neither {listed}; reinstall the package")

    @cached_property
    def _parsed(self) -> Any:
        parsed = cstruct(endian="<")
        parsed.load(self.path.read_text(encoding="utf-8"), align=True)
        return parsed

    @cached_property
    def constants(self) -> dict[str, int]:
        """Every numeric #define by name."""
        return {name: value for name, value in self._parsed.consts.items() if isinstance(value, int)}

    def constant(self, name: str) -> int:
        """Value of a #define. Raises `UsageError` when there is none."""
        value = self.constants.get(name)
        if value is None:
            raise UsageError(f"{self.name} defines no {name}")
        return value

    def structure(self, name: str) -> Any:
        """A structure by its name, as dissect.cstruct has it. Raises `UsageError` when there is none."""
        found = self._parsed.typedefs.get(name)
        if not hasattr(found, "fields"):
            raise UsageError(f"{self.name} has no structure {name}")
        return found
