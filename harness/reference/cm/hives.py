"""Hives and their files: load, open instances, unload, flush."""

from __future__ import annotations

from collections.abc import Callable

from harness.registry.options import LoadFlags
from harness.registry.paths import split
from harness.registry.status import NTSTATUS

from .convert import build_key, snapshot
from .filesystem import FileError, dos_path
from .hive import Hive
from .image import HiveImage, KeyImage
from .key import Key
from .names import is_key_name
from .namespace import Found, Link, Missing, Refused, walk
from .regf_read import HiveError, read_hive
from .regf_write import write_hive
from .requests import Caller, LoadResult
from .security import Ace, AceFlags, AceType, SecurityDescriptor, SecurityError
from .store import Store
from .tokens import (
    ADMINISTRATORS,
    BACKUP,
    LOCAL_SYSTEM,
    RESTORE,
    Token,
    access_check,
    assign_security,
)

__all__ = ["HiveOperations", "privileged"]


def privileged(caller: Caller, *privileges: str) -> int:
    """SUCCESS, or PRIVILEGE_NOT_HELD for a user-mode caller without all of these."""
    held = not caller.user_mode or caller.token.has(*privileges)
    return NTSTATUS.SUCCESS if held else NTSTATUS.PRIVILEGE_NOT_HELD


def _new_app_security(token: Token) -> SecurityDescriptor:
    """Of an application hive that is made: whoever made it may change all of it (B-APP-10)."""
    aces = tuple(
        Ace(AceType.ALLOWED, AceFlags.CONTAINER_INHERIT, 0xF003F, sid)
        for sid in (LOCAL_SYSTEM, ADMINISTRATORS, token.user)
    )
    return SecurityDescriptor(token.owner, token.primary_group, aces)


class HiveOperations(Store):
    """What can be done with whole hives."""

    # -- load --------------------------------------------------------------------------------------

    def load_key(
        self,
        start: Key,
        name: str,
        source_file: str,
        flags: int,
        *,
        caller: Caller,
        desired_access: int = 0,
        security_descriptor: bytes | None = None,
    ) -> LoadResult:
        """Load the hive file at `name` below `start`; with APP_HIVE as RegLoadAppKey does.

        A missing file is created (sdk regloadkeya, B-APP-12); an ordinary hive's root gets the given
        descriptor then, of a file that exists it is ignored. An ordinary hive is mounted below MACHINE or
        USER and needs the restore and backup privileges; a file in use gives SHARING_VIOLATION, a name in
        use ACCESS_DENIED. Application hives need no privilege (B-APP-11); rules: B-APP-02, 09, 12..14. The
        statuses of a second hive in one process (up to Windows 7), of a hive with several descriptors
        and of an exclusively loaded file are not documented: ACCESS_DENIED, ACCESS_DENIED,
        SHARING_VIOLATION.

        The caller counts the root handle with `opened`; if it makes none, `release_unused` unloads.
        """
        is_app = bool(flags & LoadFlags.APP_HIVE)
        if is_app and self.applications is None:
            return LoadResult(NTSTATUS.INVALID_PARAMETER)
        if not is_app:
            status = privileged(caller, RESTORE, BACKUP)
            if status != NTSTATUS.SUCCESS:
                return LoadResult(status)
        place = walk(start, list(split(name)), registry=self.root, open_link=True, internal=is_app, view=None)
        if isinstance(place, Refused):
            return LoadResult(place.status)
        if isinstance(place, Link | Found):
            return LoadResult(NTSTATUS.ACCESS_DENIED)
        try:
            path = dos_path(source_file)
            if is_app:
                return self._load_app(place, path, flags, caller, desired_access)
            return self._load_ordinary(place, path, flags, caller, security_descriptor)
        except FileError as error:
            return LoadResult(error.status)
        except HiveError as error:
            return LoadResult(error.status)

    def _load_ordinary(
        self, place: Missing, path: str, flags: int, caller: Caller, descriptor: bytes | None
    ) -> LoadResult:
        if place.parent not in (self.machine, self.user) or len(place.names) != 1:
            return LoadResult(NTSTATUS.ACCESS_DENIED)

        try:
            explicit = SecurityDescriptor.decode(descriptor) if descriptor else None
        except SecurityError:
            return LoadResult(NTSTATUS.INVALID_SECURITY_DESCR)

        def default() -> SecurityDescriptor:
            return assign_security(place.parent.state().security, explicit, caller.token)

        return self._mount_file(place, path, flags, default)

    def _load_app(
        self, place: Missing, path: str, flags: int, caller: Caller, desired_access: int
    ) -> LoadResult:
        if place.parent is not self.applications or len(place.names) != 1:
            return LoadResult(NTSTATUS.INVALID_PARAMETER)
        if not self.version.several_app_hives and any(
            hive.is_app and caller.process in hive.openers and hive.file != path for hive in self.hives
        ):
            return LoadResult(NTSTATUS.ACCESS_DENIED)
        holder = self.files.holder(path)
        if isinstance(holder, Hive) and holder.is_app and holder.root is not None:
            if holder.is_exclusive or flags & LoadFlags.PROCESS_PRIVATE:
                return LoadResult(NTSTATUS.SHARING_VIOLATION)
            result = LoadResult(NTSTATUS.SUCCESS, holder, holder.root, shared=True)
        else:
            result = self._mount_file(place, path, flags, lambda: _new_app_security(caller.token))
        if result.root is None or result.hive is None:
            return result
        security = result.root.state().security
        status, granted = access_check(security, caller.token, desired_access, checked=caller.checked)
        if status != NTSTATUS.SUCCESS:
            self.release_unused(result.hive)
            return LoadResult(status)
        return LoadResult(
            status, result.hive, result.root, granted, created=result.created, shared=result.shared
        )

    def _mount_file(
        self, place: Missing, path: str, flags: int, default: Callable[[], SecurityDescriptor]
    ) -> LoadResult:
        name = place.names[0]
        if not is_key_name(name):
            return LoadResult(NTSTATUS.INVALID_PARAMETER)
        hive = Hive(file=path, flags=flags)
        created = not self.files.exists(path)
        if created:
            if hive.is_read_only:
                return LoadResult(NTSTATUS.OBJECT_NAME_NOT_FOUND)
            image = HiveImage(KeyImage(name, default().encode(), self.now()))
        else:
            image = read_hive(self.files.read(path))
        hive.minor_version = image.minor_version
        root = build_key(hive, None, image.root)
        if hive.is_app:
            hive.security = root.state().security
            if any(key.state().security != hive.security for key in root.tree()):
                return LoadResult(NTSTATUS.ACCESS_DENIED)
        self.files.hold(path, hive)
        self.mount(hive, root, place.parent, name)
        if created:
            hive.dirty = True
            self.write_back(hive)
        return LoadResult(NTSTATUS.SUCCESS, hive, root, created=created)

    # -- open instances ----------------------------------------------------------------------------

    def opened(self, key: Key, process: int = 0) -> None:
        """A key object (open instance) for this key came into being, on behalf of `process`."""
        key.open_count += 1
        key.hive.openers[process] += 1

    def closed(self, key: Key, process: int = 0) -> Hive | None:
        """A key object is gone; pass the process `opened` was given.

        Returns the application hive that was unloaded because this was its last one (B-APP-07).
        """
        hive = key.hive
        key.open_count -= 1
        hive.openers[process] -= 1
        if not hive.openers[process]:
            del hive.openers[process]
        return hive if self.release_unused(hive) else None

    def release_unused(self, hive: Hive) -> bool:
        """Unload an application hive nobody has open; needed by itself when a load's handle can't be made."""
        if not hive.is_app or not hive.loaded or hive.open_count:
            return False
        self.drop(hive)
        return True

    def drop(self, hive: Hive) -> None:
        """Write a hive, take it out of the namespace and let go of its file."""
        root = hive.root
        if root is not None:
            for key in root.tree():
                if key.transaction is not None:
                    key.transaction.rollback()
        self.write_back(hive)
        self.unmount(hive)
        if hive.file is not None:
            self.files.release(hive.file, hive)

    # -- unload, flush -----------------------------------------------------------------------------

    def unload_key(self, key: Key, *, caller: Caller, force: bool = False, own_references: int = 0) -> int:
        """Unload the hive whose root `key` is.

        CANNOT_DELETE while key objects other than the caller's own are open (B-HIV-07), unless forced: those
        answer HIVE_UNLOADED then. INVALID_PARAMETER for a key that is no root of a loaded hive.
        """
        status = privileged(caller, RESTORE, BACKUP) or key.status()
        if status != NTSTATUS.SUCCESS:
            return status
        hive = key.hive
        if not key.is_hive_root or hive is self.master:
            return NTSTATUS.INVALID_PARAMETER
        if hive.flags & LoadFlags.BOOT_HIVE or (hive.open_count > own_references and not force):
            return NTSTATUS.CANNOT_DELETE
        self.drop(hive)
        return NTSTATUS.SUCCESS

    def flush_key(self, key: Key) -> int:
        """Write the whole hive of the key to its file (B-HIV-02)."""
        status = key.status()
        return status if status != NTSTATUS.SUCCESS else self.write_back(key.hive)

    def write_back(self, hive: Hive) -> int:
        """Write a changed hive; volatile keys and uncommitted changes are left out."""
        if hive.file is None or hive.root is None or hive.is_read_only or hive.replaced or not hive.dirty:
            return NTSTATUS.SUCCESS
        image = HiveImage(snapshot(hive.root), hive.minor_version, self.now(), hive.file[-31:])
        try:
            self.files.write(hive.file, write_hive(image), owner=hive)
        except FileError as error:
            return error.status
        hive.dirty = False
        return NTSTATUS.SUCCESS
