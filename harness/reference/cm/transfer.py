"""Hive content between keys and files: save, merge, restore, replace."""

from __future__ import annotations

from harness.registry.options import LoadFlags, SaveFormat
from harness.registry.status import NTSTATUS

from .convert import build_key, merge_images, snapshot
from .filesystem import FileError
from .hive import Hive
from .hives import HiveOperations, privileged
from .image import HiveImage, KeyImage
from .key import Key
from .regf_read import HiveError, read_hive
from .regf_write import write_hive
from .requests import Caller, SaveResult
from .tokens import BACKUP, RESTORE, TCB

__all__ = ["HiveTransfer"]

#: Minor format versions by what NtSaveKeyEx is asked for (sdk regsavekeyexa).
_FORMATS = {SaveFormat.STANDARD: 3, SaveFormat.LATEST: 5}


class HiveTransfer(HiveOperations):
    """What copies whole trees of keys to files and back."""

    # -- save --------------------------------------------------------------------------------------

    def save_key(self, key: Key, format_: int, *, caller: Caller) -> SaveResult:
        """The file NtSaveKeyEx writes for this key and its subkeys; the caller writes it to the handle.

        INVALID_PARAMETER for an unknown format and for NO_COMPRESSION on a key that is no hive root
        (B-HIV-11). ACCESS_DENIED for \\REGISTRY, MACHINE and USER, which are no part of a hive file.
        """
        status = privileged(caller, BACKUP) or key.status()
        if status != NTSTATUS.SUCCESS:
            return SaveResult(status)
        if format_ == SaveFormat.NO_COMPRESSION and key.is_hive_root:
            minor = key.hive.minor_version
        elif format_ in _FORMATS:
            minor = _FORMATS[SaveFormat(format_)]
        else:
            return SaveResult(NTSTATUS.INVALID_PARAMETER)
        if key.hive is self.master:
            return SaveResult(NTSTATUS.ACCESS_DENIED)
        return SaveResult(NTSTATUS.SUCCESS, write_hive(HiveImage(snapshot(key), minor, self.now())))

    def save_merged_keys(self, high: Key, low: Key, *, caller: Caller) -> SaveResult:
        """The file NtSaveMergedKeys writes: the subtree at `high`, completed from the one at `low`."""
        status = privileged(caller, BACKUP) or high.status() or low.status()
        if status != NTSTATUS.SUCCESS:
            return SaveResult(status)
        if self.master in (high.hive, low.hive):
            return SaveResult(NTSTATUS.ACCESS_DENIED)
        merged = merge_images(snapshot(high), snapshot(low))
        return SaveResult(NTSTATUS.SUCCESS, write_hive(HiveImage(merged, 5, self.now())))

    # -- restore, replace --------------------------------------------------------------------------

    def restore_key(self, key: Key, data: bytes, flags: int, *, caller: Caller) -> int:
        """Put a hive file's content in place of the key's values and subkeys (sdk regrestorekeya).

        ACCESS_DENIED when subkeys are open, unless FORCE_RESTORE: they answer KEY_DELETED then (B-HIV-25).
        WHOLE_HIVE_VOLATILE works on MACHINE and USER only, where the file's subkeys become volatile keys.
        REFRESH_HIVE goes back to what was last written; it needs the TCB privilege and the root of a hive
        loaded with NO_LAZY_FLUSH.
        """
        status = privileged(caller, RESTORE, BACKUP) or key.status()
        if status != NTSTATUS.SUCCESS:
            return status
        allowed = LoadFlags.WHOLE_HIVE_VOLATILE | LoadFlags.REFRESH_HIVE | LoadFlags.FORCE_RESTORE
        volatile = bool(flags & LoadFlags.WHOLE_HIVE_VOLATILE)
        if flags & ~allowed or volatile != (key.hive is self.master) or (volatile and key is self.root):
            return NTSTATUS.INVALID_PARAMETER
        try:
            if flags & LoadFlags.REFRESH_HIVE:
                return self._refresh(key, caller)
            image = read_hive(data)
        except FileError as error:
            return error.status
        except HiveError as error:
            return error.status
        if volatile:
            return self._restore_volatile(key, image)
        return self._replace_content(key, image.root, force=bool(flags & LoadFlags.FORCE_RESTORE))

    def _refresh(self, key: Key, caller: Caller) -> int:
        hive = key.hive
        status = privileged(caller, TCB)
        if status != NTSTATUS.SUCCESS:
            return status
        if not key.is_hive_root or not hive.flags & LoadFlags.NO_LAZY_FLUSH or hive.file is None:
            return NTSTATUS.INVALID_PARAMETER
        image = read_hive(self.files.read(hive.file, owner=hive))
        status = self._replace_content(key, image.root, force=False)
        hive.dirty = hive.dirty and status != NTSTATUS.SUCCESS
        return status

    def _restore_volatile(self, key: Key, image: HiveImage) -> int:
        # One volatile hive a subkey, as every key below MACHINE and USER is the root of a hive.
        if any(key.subkey(child.name) is not None for child in image.root.subkeys):
            return NTSTATUS.ACCESS_DENIED
        for child in image.root.subkeys:
            hive = Hive(minor_version=image.minor_version)
            self.mount(hive, build_key(hive, None, child, volatile=True), key, child.name)
        return NTSTATUS.SUCCESS

    def _replace_content(self, key: Key, image: KeyImage, *, force: bool) -> int:
        below = [child for child in key.tree() if child is not key]
        if not force and any(child.open_count for child in below):
            return NTSTATUS.ACCESS_DENIED
        for child in (key, *below):
            if child.transaction is not None:
                child.transaction.rollback()
        for child in below:
            child.state().deleted = True
        fresh = build_key(key.hive, key.parent, image, volatile=key.volatile).state()
        state = key.change(None)
        state.values = fresh.values
        for name in list(state.subkeys):
            state.remove(name)
        for child in fresh.subkeys.values():
            child.parent = key
            if key.hive.security is not None:
                for inner in child.tree():
                    inner.state().security = key.hive.security
            state.add(child.name, child)
        if key.hive.security is None:
            state.security = fresh.security
        key.class_name = image.class_name
        state.last_write = self.now()
        return NTSTATUS.SUCCESS

    def replace_key(self, key: Key, new_file: str, old_file: str, *, caller: Caller) -> int:
        """Exchange the file of the key's hive; the content changes at the next boot (B-HIV-13).

        The hive's file goes to `old_file`, `new_file` takes its place and stays held. Keys in memory live
        on and are no more written. A key that is no root stands for the root of its hive.
        """
        status = privileged(caller, RESTORE, BACKUP) or key.status()
        if status != NTSTATUS.SUCCESS:
            return status
        hive = key.hive
        if hive.file is None:
            return NTSTATUS.ACCESS_DENIED
        try:
            new = self.files.read(new_file)
            read_hive(new)
            self.flush_key(key)
            if self.files.exists(hive.file):
                self.files.write(old_file, self.files.read(hive.file, owner=hive))
            self.files.write(hive.file, new, owner=hive)
            self.files.hold(new_file, hive)
        except FileError as error:
            return error.status
        except HiveError as error:
            return error.status
        hive.replaced = True
        return NTSTATUS.SUCCESS
