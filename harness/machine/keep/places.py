"""Where the harness keeps what it needs for machines, and whether there is room.

- the cache: images and templates, kept between runs (``~/.cache/regfilter-harness``, or ``HARNESS_CACHE``);
- the runtime folder: sockets and libvirt's own files, gone with the process. Its path is short, because a
  unix socket's path has at most 107 bytes (unix(7));
- the memory folder: files that hold a template's RAM, in ``/dev/shm``.

All are for the user alone: a folder that somebody else prepared under the same name is refused.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from harness.errors import InfrastructureError

__all__ = [
    "Places",
    "available_memory",
    "free_space",
    "mebibytes",
    "private_folder",
    "require_space",
    "runtime_candidates",
    "total_memory",
]

log = logging.getLogger(__name__)

_NAME: Final = "regfilter-harness"
_SHARED_MEMORY: Final = Path("/dev/shm")
#: Bytes that a runtime folder may have, so that the longest socket below it (libvirt's monitor) still fits.
_RUNTIME_LENGTH: Final = 40
#: Left free for everything else on a file system, and in memory.
_DISK_MARGIN: Final = 256 << 20
_MEMORY_MARGIN: Final = 512 << 20
#: In the folder in memory: the path of the cache it belongs to, and in which file system that is a path.
_CACHE_NOTE: Final = "cache"
_GROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Places:
    """The three folders. `standard` is what the command uses; tests name their own."""

    cache: Path
    runtime: Path
    memory: Path | None  # None: this host has no file system in memory, RAM files go to the cache

    @classmethod
    def standard(cls) -> Places:
        """From the environment: ``HARNESS_CACHE``, ``XDG_CACHE_HOME``, ``XDG_RUNTIME_DIR``."""
        named = os.environ.get("HARNESS_CACHE")
        cache = Path(named).expanduser() if named else platformdirs.user_cache_path(_NAME)
        return cls.beside(cache.absolute())

    @classmethod
    def beside(cls, cache: Path) -> Places:
        """The places that belong to a cache; another cache has other RAM files."""
        # Templates and their RAM files refer to each other, so two caches must not share a folder of them.
        key = hashlib.sha256(bytes(cache) + _file_system().encode()).hexdigest()[:8]
        memory = _SHARED_MEMORY / f"{_memory_prefix()}{key}" if _SHARED_MEMORY.is_dir() else None
        return cls(cache=cache, runtime=runtime_candidates()[0], memory=memory)

    def lost_memory(self, *, everything: bool = False) -> tuple[tuple[Path, Path], ...]:
        """Folders in memory that belonged to caches which are gone, each with that cache.

        Where /dev/shm is shared with other containers, theirs can't be seen from here; `everything` takes
        them for gone.
        """
        if self.memory is None or not self.memory.name.startswith(_memory_prefix()):
            return ()
        found = []
        for folder in self.memory.parent.glob(f"{_memory_prefix()}*"):
            note = folder / _CACHE_NOTE
            if folder.is_symlink() or folder.lstat().st_uid != os.geteuid() or not note.is_file():
                continue
            named, _, where = note.read_text().partition("\n")
            cache = Path(named)
            here = where in ("", _file_system())
            if cache.is_absolute() and not cache.exists() and (here or everything):
                found.append((folder, cache))
        return tuple(found)

    @property
    def images(self) -> Path:
        return self.cache / "images"

    @property
    def templates(self) -> Path:
        return self.cache / "templates"

    @property
    def sessions(self) -> Path:
        """What running processes need much room for: overlays, dumps."""
        return self.cache / "sessions"

    @property
    def libvirt_cache(self) -> Path:
        """What libvirt found out about QEMU; asking again takes seconds, and libvirt checks it by itself."""
        return self.cache / "libvirt"

    def free_in_memory(self) -> int:
        """Bytes that RAM files may take yet; negative when there should be fewer of them."""
        if self.memory is None:
            return 0
        return min(free_space(self.memory), available_memory()) - _MEMORY_MARGIN

    def room_in_memory(self, size: int) -> Path | None:
        """The folder in memory for a RAM file of `size` bytes; None, and a line in the log, without room."""
        if self.memory is None:
            return None
        free = self.free_in_memory()
        if free >= size:
            private_folder(self.memory)
            # Who finds the folder can't tell from its name whether its cache is still there.
            (self.memory / _CACHE_NOTE).write_text(f"{self.cache}\n{_file_system()}")
            return self.memory
        log.warning(
            "a RAM file of %s does not fit into memory (%s free in %s): it goes to %s, which is slower",
            mebibytes(size),
            mebibytes(max(free, 0)),
            self.memory.parent,
            self.templates,
        )
        return None


def _file_system() -> str:
    """The root folder of this process: in another container or chroot the same path is another folder."""
    root = Path("/").stat()
    return f"{root.st_dev}:{root.st_ino}"


def _memory_prefix() -> str:
    return f"{_NAME}-{os.geteuid()}-"


def runtime_candidates() -> tuple[Path, ...]:
    """Where runtime folders may be, the one to use first: a process's environment is not always the same."""
    shared = Path("/tmp") / f"{_NAME}-{os.geteuid()}"
    given = os.environ.get("XDG_RUNTIME_DIR")
    if not given or not Path(given).is_absolute():
        return (shared,)
    own = Path(given) / _NAME
    if len(bytes(own)) > _RUNTIME_LENGTH or not os.access(given, os.W_OK | os.X_OK):
        return (shared, own)
    return (own, shared)


def private_folder(path: Path) -> Path:
    """`path`, made if needed, for this user alone (mode 0700).

    Raises `InfrastructureError` when it is somebody else's, or a link: in a shared folder such as /tmp
    anybody could have put it there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise InfrastructureError(
            f"can't make the folder {path}: {error.strerror}; name another place with HARNESS_CACHE or "
            "XDG_RUNTIME_DIR"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise InfrastructureError(f"{path} is no folder (a link?); the harness needs one there: remove it")
    if found.st_uid != os.geteuid():
        raise InfrastructureError(
            f"{path} belongs to user {found.st_uid}, not to you ({os.geteuid()}), and can't be trusted; "
            "have it removed, or name another place with HARNESS_CACHE or XDG_RUNTIME_DIR"
        )
    if found.st_mode & 0o077:
        path.chmod(0o700)
    return path


def free_space(path: Path) -> int:
    """Bytes free for this user on the file system that holds `path`, or will when it is made."""
    there = path
    while not there.exists():
        there = there.parent
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize


def require_space(path: Path, size: int, purpose: str) -> None:
    """Raise `InfrastructureError` unless `size` bytes fit beside `path`, with a margin."""
    free = free_space(path)
    if free < size + _DISK_MARGIN:
        raise InfrastructureError(
            f"{purpose} needs {mebibytes(size)} below {path}, and {mebibytes(free)} are free there; "
            "free some (harness clean --all removes templates), or name another place with HARNESS_CACHE"
        )


def available_memory() -> int:
    """Bytes that new processes may use: the kernel's MemAvailable, and what the control group leaves.

    "MemAvailable" is explained in the kernel's Documentation/filesystems/proc.rst, memory.max and
    memory.current in cgroup-v2.rst.
    """
    available = _meminfo("MemAvailable")
    try:
        limit = int(_GROUP_LIMIT.read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        cached = _inactive_file(Path("/sys/fs/cgroup/memory.stat").read_text())
    except (OSError, ValueError):
        return available  # no control group, or its limit is "max"
    return max(0, min(available, limit - used + cached))


def total_memory() -> int:
    """Bytes that there are for this process at most: the host's, or its control group's limit."""
    total = _meminfo("MemTotal")
    try:
        return min(total, int(_GROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        return total


def _meminfo(name: str) -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:")), 0)


def _inactive_file(statistics: str) -> int:
    """Page cache that the group would give back at once."""
    lines = (line.split() for line in statistics.splitlines())
    return next((int(size) for name, size in lines if name == "inactive_file"), 0)


def mebibytes(size: int) -> str:
    """A size as people read it in messages."""
    return f"{size / (1 << 20):,.0f} MiB"
