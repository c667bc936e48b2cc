"""What a machine keeps beside its disks: the variables of its UEFI firmware and the state of its TPM.

QEMU writes a variable through to its file, and swtpm puts a new state in place of the old one by renaming it
(swtpm_nvstore_dir.c); so the files of a paused machine are whole. What a TPM has only in memory, such as its
sessions, is in none of them: a machine that starts on the copies is one that was switched off and on.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.machine.describe.spec import MachineSpec

__all__ = ["TPM_FILE", "NonVolatile", "copy_nonvolatile", "nonvolatile_files"]

#: QEMU's limit for both flash devices of a PC together ("max-fw-size", hw/i386/pc.c).
_MAX_VARIABLES: Final = 8 << 20
#: swtpm's files have some hundred KiB at most; it needs one of each kind.
_MAX_TPM: Final = 4 << 20
_MAXTPM_FILES: Final = 8
#: swtpm's names of state of a TPM 2.0 (swtpm(8), --tpmstate), without its lock and its temporary files.
TPM_FILE: Final = re.compile(r"tpm2-00\.[a-z]{1,32}")


@dataclass(frozen=True, slots=True)
class NonVolatile:
    """Files, each where it is now; None and empty where a machine has no such thing."""

    variables: Path | None = None
    tpm: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return (*([self.variables] if self.variables is not None else []), *self.tpm)


def nonvolatile_files(spec: MachineSpec) -> NonVolatile:
    """The files of a machine, by its description; it has to be paused, crashed or switched off.

    Raises `InfrastructureError` for a file that is missing, no plain file, or larger than it can be.
    """
    variables = spec.firmware_variables
    if variables is not None:
        _check(variables, _MAX_VARIABLES)
    if not spec.hardware.tpm:
        return NonVolatile(variables)
    folder = spec.tpm_folder
    try:
        names = sorted(path.name for path in folder.iterdir() if TPM_FILE.fullmatch(path.name))
    except OSError as error:
        raise InfrastructureError(f"machine {spec.name}: can't read its TPM's folder: {error}") from error
    if len(names) > _MAXTPM_FILES:
        raise InfrastructureError(f"{folder} has {len(names)} files of a TPM's state; it is not swtpm's")
    for name in names:
        _check(folder / name, _MAX_TPM)
    return NonVolatile(variables, tuple(folder / name for name in names))


def copy_nonvolatile(spec: MachineSpec, folder: Path) -> NonVolatile:
    """Copies of the files in `folder`, for their owner alone: ``variables`` and ``tpm/tpm2-00.permall``.

    `folder` exists, and has none of them. Raises as `nonvolatile_files`, and for what can't be copied.
    """
    found = nonvolatile_files(spec)
    variables = None
    if found.variables is not None:
        variables = _copy(found.variables, folder / "variables", _MAX_VARIABLES)
    if found.tpm:
        (folder / "tpm").mkdir(mode=0o700)
    return NonVolatile(
        variables, tuple(_copy(path, folder / "tpm" / path.name, _MAX_TPM) for path in found.tpm)
    )


def _check(path: Path, most: int) -> None:
    try:
        status = path.lstat()
    except OSError as error:
        raise InfrastructureError(f"can't read a machine's state: {error}") from error
    _judge(path, status, most)


def _judge(path: Path, status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_size > most:
        raise InfrastructureError(
            f"{path} is no plain file of at most {most >> 20} MiB, as a machine's state is; "
            "something else wrote into the machine's folder"
        )


def _copy(source: Path, target: Path, most: int) -> Path:
    """What was checked by name is opened without following links, and checked again."""
    try:
        with (
            os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file,
            os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
        ):
            _judge(source, os.fstat(file.fileno()), most)
            shutil.copyfileobj(file, out)
    except OSError as error:
        raise InfrastructureError(f"can't copy a machine's state: {error}") from error
    return target
