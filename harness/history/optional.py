"""The history where it is there: everything but looking back works without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import ToolMissingError

if TYPE_CHECKING:
    from harness.history.history import History

__all__ = ["ENVIRONMENT", "FILE", "history_at"]

#: Names the history where no option does.
ENVIRONMENT: Final = "HARNESS_HISTORY"
#: The history's file in the folder of the runs.
FILE: Final = "history.sqlite"


@contextmanager
def history_at(where: str | None, results: Path, *, make: bool = True) -> Iterator[History | None]:
    """The history `where`, a file or an URL; without it what HARNESS_HISTORY says, or the one in `results`.

    None where nobody asked for a history and there can't be one: its packages, the extra `history`, aren't
    installed, or there is no file in `results` and it isn't to be made. Raises `ToolMissingError` where one
    was asked for and the packages are missing.
    """
    where = where or os.environ.get(ENVIRONMENT)
    if not where and not make and not (results / FILE).is_file():
        yield None
        return
    try:
        import alembic  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ModuleNotFoundError as error:
        if not where:
            yield None
            return
        raise ToolMissingError(
            f"a history needs {error.name}; pip install 'regfilter-harness[history]'"
        ) from error
    from harness.history.history import open_history

    with open_history(where, results=results) as history:
        yield history
